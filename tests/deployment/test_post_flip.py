"""What is said when a step after the flip fails, and which steps are made up for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from releaser.deployment import post_flip
from releaser.deployment.activate import advice_for
from releaser.deployment.post_flip import attempt_steps, failure_of
from releaser.errors import ToolError
from releaser.site.settings import Settings
from tests.support.logs import a_log

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (
            "update",
            "Ask it. See `releaser status` for what is left out of updates now;"
            " `releaser update --force` includes it anyway.",
        ),
        ("init", "Ask it. Fix that, and run it again."),
        ("rebuild", "Ask it. Fix that, and run it again."),
        ("rollback", "Ask it."),
    ],
)
def test_what_to_do_is_said_for_the_command_that_failed(command: str, advice: str) -> None:
    failure = failure_of("health check", ToolError("no answer", advice="Ask it.", output="refused\n"))
    assert (failure.message, failure.step) == ("health check failed: no answer (refused)", "health check")
    assert advice_for(failure, command) == advice


@pytest.mark.parametrize(
    ("due", "fails", "outcome", "waits_for_new_processes"),
    [
        (["restart"], "", {"restart": True, "health check": True}, True),
        (["restart"], "restart", {"restart": False}, None),
        (["restart", "health check"], "restart", {"restart": False, "health check": True}, False),
        (["health check"], "", {"health check": True}, False),
        (["collectstatic"], "restart", {"collectstatic": True, "restart": False, "health check": True}, False),
        ([], "", {}, None),
    ],
)
def test_a_health_check_waits_for_new_processes_only_after_a_restart(
    monkeypatch: pytest.MonkeyPatch,
    due: list[str],
    fails: str,
    outcome: dict[str, bool],
    *,
    waits_for_new_processes: bool | None,
) -> None:
    waited: list[bool] = []

    def step(name: str) -> Callable[..., None]:
        def act(_site: object, _log: object, check: Any, _step: object) -> None:
            if name == fails:
                raise ToolError(name)
            if name == "health check":
                waited.append(check.was_used)

        return act

    steps = {name: step(name) for name in ("python start", "collectstatic", "restart", "health check")}
    monkeypatch.setattr(post_flip, "STEPS", steps)
    monkeypatch.setattr(post_flip, "in_use", lambda _release: True)
    found = attempt_steps(cast("Any", SimpleNamespace(settings=Settings())), a_log(), cast("Any", None), due)
    assert found == outcome
    assert waited == ([] if waits_for_new_processes is None else [waits_for_new_processes])
