"""Installs a venv in the sandbox: wheels first, through uv's cache, and then packages that need a build."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from releaser.candidate.build_limits import only_built
from releaser.candidate.git_sources import fetch_sources
from releaser.candidate.sandbox import sandbox_of
from releaser.errors import ToolError
from releaser.locks.lock import LockFile
from releaser.releases.venv import executable_of
from releaser.system.process import in_new_sandbox
from releaser.tools.uv import packages_to_build
from releaser.tools.uv_arguments import COMPILED, NOT_LOCAL, exclude_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from releaser.candidate.git_sources import Fetched
    from releaser.site.site import Site


# Compiles as uv does, but in an interpreter that ignores the venv. Skips modules that do not compile.
_COMPILING = """
import compileall, os, py_compile, sys
mode = py_compile.PycInvalidationMode.TIMESTAMP
files = [os.path.join(top, one) for top, _, names in os.walk(sys.argv[1]) for one in names if one.endswith(".py")]
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


def sync_in_sandbox(site: Site, venv: Path, run: Callable[..., None], words: Sequence[str]) -> None:
    """Install wheels, then builds, and local packages last: only they may write to the staging tree.

    `run` is that of `Confinement.sync`. An interpreter that ignores the venv compiles all modules. Raises ToolError.
    """
    compiling = [word for word in words if word == COMPILED]
    words = [word for word in words if word != COMPILED]
    others = words if NOT_LOCAL in words else [*words, NOT_LOCAL]
    lock = LockFile.read(site.project.lock)
    missing = _sync_wheels(run, others, {*lock.without_wheels, *only_built(site, lock)})
    python = executable_of(venv / "bin" / "python")  # now, as a build could change the symlink

    def build(fetched: Fetched) -> None:
        with sandbox_of(site, venv, what="builds", fetched=fetched) as sandbox:
            if missing:
                run(others, sandbox=sandbox)
            if compiling:  # uv takes longer, and its Python runs code of the venv at start
                command: list[str | Path] = [python, "-I", "-S", "-W", "ignore", "-c", _COMPILING, venv / "lib"]
                env = {**site.runner.neutral, **dict(sandbox.variables)}
                site.runner.run(command, cwd=site.project.root, env=env, timeout=site.uv.timeout, sandbox=sandbox)

    def build_own() -> None:
        with sandbox_of(site, venv, what="own builds") as sandbox:
            run([*words, *compiling], sandbox=sandbox)

    if missing or compiling:
        with fetch_sources(site, site.project.root, of=missing) as fetched:
            in_new_sandbox(partial(build, fetched))
    if others is not words:
        in_new_sandbox(build_own)


def _sync_wheels(run: Callable[..., None], words: Sequence[str], missing: set[str]) -> set[str]:
    """Install the wheels of all packages but `missing`; return these and others that need a build. Raises ToolError.

    uv names the packages without a suitable wheel one at a time, before it installs anything.
    """
    while True:
        try:
            run([*words, "--no-build", *exclude_arguments(missing)])
        except ToolError as error:
            more = {*packages_to_build(error.output)} - missing
            if not more:
                raise
            missing = missing | more
        else:
            return missing
