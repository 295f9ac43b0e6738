"""Sites that go first (canaries): if one did not succeed, the other sites change no package this night."""

from __future__ import annotations

from releaser.core.gate import Case, Gate, Verdict, Wait
from releaser.site.settings import FIRST_FAILED_VARIABLE
from releaser.system.words import one_line


class Canaries(Gate):
    """Waits if packages would change, and `update --all` says that a site which goes first did not end well."""

    is_foreseeable = True

    def judge(self, case: Case) -> Verdict:
        """Read what `update --all` says."""
        failed = one_line(case.site.runner.environ.get(FIRST_FAILED_VARIABLE, ""))
        return Wait(reason=failed) if failed and case.changes else None
