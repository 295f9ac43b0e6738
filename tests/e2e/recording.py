"""Runs releaser, and notes in which order it makes changes durable: a script, and what tests need to start it.

A power cut cannot be made in a test; that nothing is renamed in before what it stands for is on the disk, can be seen.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.sites import SampleSite

_VARIABLE = "RECORD_TO"


def recorded(site: SampleSite, command: str, *args: str) -> list[tuple[str, Path]]:
    """Run releaser, which must end well, and return what it synced and renamed, as (`sync` or `rename`, path)."""
    from tests.support.commands import run

    notes = site.outer.parent / "recorded.jsonl"
    words: list[str | Path] = [sys.executable, __file__, command, "--project", site.path, *args]
    run(words, cwd=site.outer.parent, env=site.environment({_VARIABLE: str(notes)}), check=0)
    lines = notes.read_text(encoding="utf-8").splitlines()
    notes.unlink()
    return [(kind, Path(path)) for kind, path in map(json.loads, lines)]


def _main() -> None:
    notes = Path(os.environ.pop(_VARIABLE)).open("a", encoding="utf-8")  # noqa: SIM115 - for the whole process
    real_fsync, libc = os.fsync, ctypes.CDLL(None, use_errno=True)

    def note(kind: str, path: str) -> None:
        notes.write(json.dumps([kind, path]) + "\n")
        notes.flush()

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        note("sync", os.readlink(f"/proc/self/fd/{descriptor}"))

    class Libc:
        """The C library, whose syncfs is noted."""

        def __getattr__(self, name: str) -> object:
            return getattr(libc, name)

        def syncfs(self, descriptor: int) -> int:
            result = int(libc.syncfs(descriptor))
            note("syncfs", os.readlink(f"/proc/self/fd/{descriptor}"))
            return result

    def audit(event: str, args: tuple[object, ...]) -> None:
        if event == "os.rename":
            note("rename", str(args[1]))

    os.fsync = fsync  # type: ignore[assignment]
    from releaser.system import files as durable

    durable._libc = Libc  # type: ignore[assignment]
    sys.addaudithook(audit)
    from releaser.__main__ import main

    main()


if __name__ == "__main__":
    _main()
