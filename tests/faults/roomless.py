"""Runs releaser without its look at free space before it begins: a script, and what tests need to start it.

Others fill a disk at any time: what is asked for at the beginning may be gone at the next step.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commands import Finished
    from tests.support.sites import SampleSite


def without_looking(site: SampleSite, command: str, *args: str) -> Finished:
    """Run releaser, which takes it that there is room."""
    from tests.support.commands import run

    words: list[str | Path] = [sys.executable, __file__, command, "--project", site.path, *args]
    return run(words, cwd=site.outer.parent.parent, env=site.environment())


def _main() -> None:
    from releaser.candidate import space

    space.find_lacks = lambda *_, **__: iter(())
    from releaser.__main__ import main

    main()


if __name__ == "__main__":
    _main()
