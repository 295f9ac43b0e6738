"""Loads the application of a file as Passenger does, in the environment of a process that already runs it.

The site's own interpreter runs this text, so it cannot import releaser. It gets the file, the root of the
application, and the id of the process.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback

OF_START = "PASSENGER_SPAWN_WORK_DIR"  # a directory of the other process alone


def take_environment(pid: str) -> None:
    """Take over the variables with which a process was started."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        pairs = (pair.partition(b"=") for pair in file.read().split(b"\0"))
        variables = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs if name}
    variables.pop(OF_START, None)
    os.environ.clear()
    os.environ.update(variables)


def load(path: str, root: str) -> None:
    """Run the file in the root of the application, and look for its application."""
    os.chdir(root)
    sys.path.insert(0, root)
    spec = importlib.util.spec_from_file_location("passenger_wsgi", path)
    assert spec is not None  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules["passenger_wsgi"] = module
    spec.loader.exec_module(module)
    _ = module.application


if __name__ == "__main__":
    status = 1
    try:
        take_environment(sys.argv[3])
        load(sys.argv[1], sys.argv[2])
        status = 0
    except BaseException:  # noqa: BLE001 - the file is the site's
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # threads that the site has started do not end
