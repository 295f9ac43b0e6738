"""A stand-in for the programs that preflight asks: one seam, and answers made up for a test."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from releaser.errors import ToolError
from releaser.site.site import Site
from releaser.system.process import Finished, Runner

_WITH_VALUE = frozenset({"-C", "-c", "--color"})


@dataclass(kw_only=True)
class FakeRunner(Runner):
    """Answers a command by its name and first words, such as `git status`; an answer may be an error.

    `asked` notes what was asked, `environments` what with.
    """

    answers: dict[str, str | ToolError] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)

    def run(self, argv: Sequence[str | Path], *, check: bool = True, env: Any = None, **_: Any) -> Finished:
        """Answer instead of running anything."""
        words = [str(word) for word in argv]
        name, plain = Path(words[0]).name, _without_options(words[1:])
        self.asked.append([name, *plain])
        self.environments.append(dict(self.environ if env is None else env))
        for length in (3, 2, 1):
            answer = self.answers.get(" ".join([name, *plain[:length]]))
            if isinstance(answer, ToolError) and check:
                raise answer
            if answer is not None:
                text, code = ("", 1) if isinstance(answer, ToolError) else (answer, 0)
                return Finished(argv=tuple(words), returncode=code, stdout=text, stderr="", output=text, seconds=0.0)
        message = f"the test has no answer to {words}"
        raise AssertionError(message)


def _without_options(words: list[str]) -> list[str]:
    """Drop the options before the subcommand."""
    left = list(words)
    while left and left[0].startswith("-") and left[0] != "--version":
        del left[: 2 if left[0] in _WITH_VALUE else 1]
    return left


def with_settings(site: Site, **values: Any) -> Site:
    """Return the site with other settings, of whatever capability."""
    settings: Any = site.settings
    return replace(site, settings=replace(settings, **values))
