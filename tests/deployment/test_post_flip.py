"""What is said when a step after the flip fails."""

from __future__ import annotations

import pytest

from releaser.deployment.activate import advice_for
from releaser.deployment.post_flip import failure_of
from releaser.errors import ToolError


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
