"""Compiles the modules of a venv as uv does, but faster, and in an interpreter that runs no code of the venv."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.releases.contents import list_below
from releaser.releases.venv import executable_of
from releaser.system.process import NO_SANDBOX

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from releaser.site.site import Site
    from releaser.system.process import Sandbox

# Compiles the modules that its input names, relative to the venv; all of them without any. Skips those that do not.
_COMPILING = """
import compileall, os, py_compile, sys
mode, venv = py_compile.PycInvalidationMode.TIMESTAMP, sys.argv[1]
files = [os.path.join(venv, os.fsdecode(one)) for one in sys.stdin.buffer.read().split(b"\\0") if one]
if not files:
    tops = os.walk(os.path.join(venv, "lib"))
    files = [os.path.join(top, one) for top, _, names in tops for one in names if one.endswith(".py")]
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
jobs, shares, children = max(1, min(cores, 8, len(files) // 200)), [0], 0
for one in range(1, jobs):
    try:
        is_child = os.fork() == 0
    except OSError:  # there may be no more processes
        shares += range(one, jobs)
        break
    if is_child:
        shares, children = [one], 0
        break
    children += 1
for share in shares:
    for file in files[share::jobs]:
        compileall.compile_file(file, force=True, quiet=2, invalidation_mode=mode)
sys.exit(any([os.wait()[1] for _ in range(children)]))
"""


def compile_modules(
    site: Site, venv: Path, sandbox: Sandbox = NO_SANDBOX, *, python: Path, but: Collection[str] = ()
) -> None:
    """Compile the modules of a venv with the interpreter `python`, but for those that are compiled already.

    Raises ToolError.
    """
    others = _list_modules(str(venv), but) if but else []
    if but and not others:
        return
    site.runner.run(
        [executable_of(python), "-I", "-S", "-W", "ignore", "-c", _COMPILING, venv],
        cwd=site.project.root,
        env={**site.runner.neutral, **dict(sandbox.variables)},
        timeout=site.uv.timeout,
        input=b"\0".join(map(os.fsencode, others)),
        sandbox=sandbox,
        in_background=True,
    )


def _list_modules(venv: str, but: Collection[str]) -> list[str]:
    """Return the modules that are not in `but`, or have no byte code, as uv has installed them again."""
    found = list_below(venv, "lib")
    codes = (path.rpartition("/__pycache__/") for path in found if path.endswith(".pyc"))
    compiled = {f"{directory}/{name.partition('.')[0]}.py" for directory, _, name in codes}
    return [path for path in found if path.endswith(".py") and not (path in but and path in compiled)]
