"""The lock of the live release with some packages from elsewhere: it is tested, and never goes live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.core.source import Resolution, Source
from releaser.errors import ResolutionError, ToolError
from releaser.locks.lock import LockFile
from releaser.locks.overrides import apply_overrides, not_taken, with_extras, without_passwords
from releaser.releases.release import lock_of
from releaser.resolution.resolve import diff_to, read_made_lock
from releaser.site.supply import FailureWords, Supply
from releaser.system.files import read_text, write_new_file
from releaser.tools.uv import NoSolution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from releaser.core.source import Wanted
    from releaser.locks.overrides import Override


class Overridden(Source):
    """Puts packages in the place of those that the live release has."""

    def __init__(self, packages: Sequence[Override]) -> None:
        self.packages = packages

    def supply(self) -> Supply:
        """Name these packages, for reports and the manifest."""
        names = tuple(map(str, self.packages))
        words = FailureWords(
            news=f"with {', '.join(names)}",
            before="without an override",
            verdict="",
            again="updates continue as before.",
            then=" first.",
        )
        return Supply(overrides=names, goes_live=False, failure=words)

    def resolve(self, wanted: Wanted) -> Resolution:
        """Lock the live packages in the staging tree, with these instead.

        The stored lock has no passwords: uv 0.13 writes those of a URL into a lock, and needs them there.
        """
        work, packages = wanted.work, self.packages
        tree, before, names = work.site.project.root, lock_of(work.live), ", ".join(map(str, packages))
        with work.log.step("resolve") as step:
            if before.data:
                work.site.project.lock.write_bytes(before.data)
            pyproject, completed = tree / "pyproject.toml", with_extras(packages, read_made_lock(tree))
            write_new_file(pyproject, apply_overrides(read_text(pyproject), completed).encode())
            message, advice = (
                f"no lock could be made with {names}",
                "See uv's message: the version must fit the other packages.",
            )
            try:
                locked = work.facts.uv.lock(tree, ["lock"], python=work.facts.python)
            except ToolError as error:
                raise ResolutionError(message, error.advice or advice, output=error.output) from error
            if isinstance(locked, NoSolution):
                raise ResolutionError(message, advice, output=locked.output)
            lock = LockFile.parse(without_passwords(read_made_lock(tree).data))
            if ignored := not_taken(packages, lock):
                message = f"uv does not accept {', '.join(map(str, ignored))}, so nothing would be tested"
                raise ResolutionError(
                    message, "Check the source of this package in pyproject.toml (`tool.uv.sources`)."
                )
            step.says(names)
        return Resolution(lock=lock, diff=diff_to(work.live, lock, python=work.facts.choice.version), on_hold=())
