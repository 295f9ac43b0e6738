"""The settings that count for a commit that is not live: its own, except for those that would open the sandbox.

For these, the settings of the checkout count, with `.env` and the environment. If the commit removes or narrows such
a setting, that counts at once, so that it can correct an earlier commit; additions wait until the commit is live.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from releaser.site.settings import PREFIX, SPECS, Settings
from releaser.system.frozen import Frozen

_STRICTER = ("off", "auto", "bwrap")
_VERSION = re.compile(r"[\d.,<>=~!* ]+t?")  # anything else may be a path in the commit

#: Returns the value that counts, from the value of the live site, the value of the commit, and the default.
Rule = Callable[[Any, Any, Any], Any]


def _unless_reverted(live: Any, own: Any, default: Any) -> Any:
    return own if own == default else live


def _intersect(live: tuple[str, ...], own: tuple[str, ...], _: Any) -> Any:
    """Keep the values that the live site has too, or that are paths below such a value."""
    known = [*map(os.path.normpath, live)]
    return tuple(setting for setting in own if any(f"{os.path.normpath(setting)}/".startswith(f"{k}/") for k in known))


def _choose_stricter(live: str, own: str, _: Any) -> Any:
    return max(live, own, key=_STRICTER.index)


def _accept_version(live: Any, own: Any, _: Any) -> Any:
    return own if own is None or _VERSION.fullmatch(own) else live


#: The settings that a commit cannot change for its own build and tests, each with the rule for what counts.
RULES: Mapping[str, Rule] = {
    # Programs that run outside the sandbox, before the commit is live.
    "before_build": _unless_reverted,
    "build_output": _unless_reverted,
    "before_live": _unless_reverted,
    "after_static": _unless_reverted,
    "uv": _unless_reverted,
    "python": _accept_version,
    "git_hooks": _unless_reverted,
    # Variables such as LD_PRELOAD reach programs outside the sandbox.
    "environment_file": _unless_reverted,
    # The limits of the sandbox.
    "sandbox": _choose_stricter,
    "test_writable": _intersect,
    "test_sockets": _intersect,
    "test_network": lambda live, own, _: live and own,
    "test_environment": _intersect,
    "smtp_password_file": lambda live, own, _: live or own,
}
#: Settings that count if the setting of their command does.
_WITH_COMMANDS = {"build_output": "before_build"}


class Waiting(Frozen):
    """A setting that counts only once its commit is live; values are spelled as in variables, empty for none."""

    name: str
    wanted: str
    counts: str


class InForce(Frozen):
    """The settings that count for a commit that is not live, and its own settings that wait."""

    settings: Settings
    #: All settings of the commit.
    own: Settings
    waiting: tuple[Waiting, ...] = ()

    @classmethod
    def of(cls, live: Settings, own: Settings) -> InForce:
        """Return the settings in force for a commit with the settings `own`, while the site has the settings `live`."""
        counts = {
            name: rule(getattr(live, name), getattr(own, name), SPECS[name].default) for name, rule in RULES.items()
        }
        for name, command in _WITH_COMMANDS.items():
            counts[name] = getattr(own if counts[command] == getattr(own, command) else live, name)
        waiting = tuple(
            Waiting(name=name, wanted=_spelled(name, getattr(own, name)), counts=_spelled(name, value))
            for name, value in counts.items()
            if value != getattr(own, name)
        )
        return cls(settings=replace(own, **counts), own=own, waiting=waiting)

    def describe(self, commit: str) -> str:
        """Say which settings of a commit wait, what counts instead, and how to apply them now; empty without any."""
        if not self.waiting:
            return ""
        wanted = " and ".join(f"{setting.name} = {setting.wanted or 'nothing'}" for setting in self.waiting)
        instead = ", ".join(setting.counts or "nothing" for setting in self.waiting)
        variables = [
            f"{PREFIX}{setting.name.upper()}={shlex.quote(setting.wanted)}"
            for setting in self.waiting
            if setting.wanted
        ]
        at_once = f" To apply them now: `{' '.join(variables)} releaser update --force`." if variables else ""
        return (
            f"Commit {commit[:12]} sets {wanted}. Such settings run programs outside the sandbox, or open it, so they "
            "apply only after the commit is live, from the next build on (`releaser rebuild`). Until then, the "
            f"checkout's settings apply ({instead}).{at_once}"
        )


def _spelled(name: str, value: Any) -> str:
    return SPECS[name].kind.spell_in_line(value)
