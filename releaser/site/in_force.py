"""The settings that count for a commit that is not live: its own, except for those that would open the sandbox.

For these, the settings of the checkout count, with `.env` and the environment. If the commit removes or narrows such
a setting, that counts at once, so that it can correct an earlier commit; additions wait until the commit is live.
"""

from __future__ import annotations

import shlex
from typing import Any

from releaser.site.settings import PREFIX, SPECS, Settings
from releaser.system.frozen import Frozen, replace

#: The rules of the settings that a commit cannot change for its own build and tests.
_RULES = {name: spec.in_force for name, spec in SPECS.items() if spec.in_force is not None}
_FOLLOWERS = {name: spec.in_force_with for name, spec in SPECS.items() if spec.in_force_with}
#: All settings that a commit changes only once it is live.
COUNTED_ONCE_LIVE = tuple(sorted((*_RULES, *_FOLLOWERS)))


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
            name: rule(getattr(live, name), getattr(own, name), SPECS[name].default) for name, rule in _RULES.items()
        }
        for name, leader in _FOLLOWERS.items():
            counts[name] = getattr(own if counts[leader] == getattr(own, leader) else live, name)
        waiting = tuple(
            Waiting(name=name, wanted=_spelled(name, getattr(own, name)), counts=_spelled(name, counts[name]))
            for name in COUNTED_ONCE_LIVE
            if counts[name] != getattr(own, name)
        )
        return cls(settings=replace(own, **counts), own=own, waiting=waiting)

    def describe(self, commit: str) -> str:
        """Name which settings of a commit wait, what counts instead, and how to apply them now; empty without any."""
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
