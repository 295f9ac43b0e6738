"""The hook `before_live` may refuse a release."""

from __future__ import annotations

from releaser.core.gate import Case, Gate, Refusal, Verdict
from releaser.errors import HookError, ToolError
from releaser.reporting.hook_settings import HookSettings
from releaser.reporting.hooks import run_hook


class BeforeLive(Gate):
    """Refuses if the hook fails."""

    acts = True

    def judge(self, case: Case) -> Verdict:
        """Run the hook."""
        if HookSettings.of(case.site).before_live is None:
            return None
        venv = case.built
        with case.log.step("before_live") as step:
            try:
                step.says(run_hook(case.site, case.log, "before_live", venv))
            except ToolError as error:
                message = f"{error.reason}: {venv.parent.name} does not go live"
                step.status, step.detail = "failed", message
                return Refusal(error=HookError(message, error.advice, output=error.output))
        return None
