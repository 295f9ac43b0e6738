"""Which settings count for a commit that is not live: its own, except for those that would let it out of the sandbox.

These are what the live release has, with `.env` and the environment laid over it. What a commit takes back counts at
once, so that a commit can always correct what an earlier one has set: what it adds or widens waits until it is live.
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
_VERSION = re.compile(r"[\d.,<>=~!* ]+t?")  # all else may be a path in the commit

#: Returns what counts, of what live has, what the commit has, and the default.
Rule = Callable[[Any, Any, Any], Any]


def _unless_taken_back(live: Any, own: Any, default: Any) -> Any:
    return own if own == default else live


def _what_both_have(live: tuple[str, ...], own: tuple[str, ...], _: Any) -> Any:
    """Keep what live has as well, or what is a path below one that it has."""
    known = [*map(os.path.normpath, live)]
    return tuple(one for one in own if any(f"{os.path.normpath(one)}/".startswith(f"{k}/") for k in known))


def _the_stricter(live: str, own: str, _: Any) -> Any:
    return max(live, own, key=_STRICTER.index)


def _a_version(live: Any, own: Any, _: Any) -> Any:
    return own if own is None or _VERSION.fullmatch(own) else live


#: The settings that a commit cannot change for its own build and tests, each with the rule for what counts.
RULES: Mapping[str, Rule] = {
    # Programs that run outside of the sandbox, before the commit is live.
    "before_build": _unless_taken_back,
    "build_output": _unless_taken_back,
    "before_live": _unless_taken_back,
    "after_static": _unless_taken_back,
    "uv": _unless_taken_back,
    "python": _a_version,
    "git_hooks": _unless_taken_back,
    # Variables such as LD_PRELOAD reach what runs outside of the sandbox.
    "environment_file": _unless_taken_back,
    # What the sandbox keeps away.
    "isolate": _the_stricter,
    "test_writable": _what_both_have,
    "test_sockets": _what_both_have,
    "test_network": lambda live, own, _: live and own,
    "test_environment": _what_both_have,
    "smtp_password_file": lambda live, own, _: live or own,
}
#: Settings that count if this command does.
_WITH_COMMANDS = {"build_output": "before_build"}


class Waiting(Frozen):
    """A setting of a commit that does not count before it is live, as variables have it; empty for none."""

    name: str
    wanted: str
    counts: str


class InForce(Frozen):
    """The settings that count for a commit that is not live, and those of its own that wait."""

    settings: Settings
    #: All of its own.
    own: Settings
    waiting: tuple[Waiting, ...] = ()

    @classmethod
    def of(cls, live: Settings, own: Settings) -> InForce:
        """Find what counts for a commit with settings of its own while others are live."""
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
        """Say which settings of a commit wait, what counts instead, and how they count at once; empty if none wait."""
        if not self.waiting:
            return ""
        wanted = " and ".join(f"{one.name} = {one.wanted or 'nothing'}" for one in self.waiting)
        instead = ", ".join(one.counts or "nothing" for one in self.waiting)
        variables = [f"{PREFIX}{one.name.upper()}={shlex.quote(one.wanted)}" for one in self.waiting if one.wanted]
        at_once = f" To let them count at once: `{' '.join(variables)} releaser update --force`." if variables else ""
        return (
            f"Commit {commit[:12]} sets {wanted}. That runs outside of the sandbox, or opens it, so it counts from the "
            "first build after the commit is live (`releaser rebuild` makes one); until then, what is checked out "
            f"decides ({instead}).{at_once}"
        )


def _spelled(name: str, value: Any) -> str:
    return SPECS[name].kind.spell_in_line(value)
