"""The declaration of settings: a field's type selects the parser, and the comment above it is its documentation.

The types with their parsers are at the end of values.py. A module that declares settings must not postpone the
evaluation of annotations.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from releaser.system.frozen import Frozen, field

if TYPE_CHECKING:
    from releaser.site.loading import Loaded
    from releaser.site.site import Site

#: Returns the value in force for a commit that is not live, from the live value, that of the commit, and the default.
Rule = Callable[[Any, Any, Any], Any]


def unless_reverted(live: Any, own: Any, default: Any) -> Any:
    """Return the live value, unless the commit sets the default."""
    return own if own == default else live


def intersect(live: tuple[str, ...], own: tuple[str, ...], _: Any) -> tuple[str, ...]:
    """Return the commit's values that the live site has too, or that are paths below such a value."""
    known = [*map(os.path.normpath, live)]
    return tuple(setting for setting in own if any(f"{os.path.normpath(setting)}/".startswith(f"{k}/") for k in known))


#: Declares a setting that is never shown.
secret = partial(field, repr=False, metadata={"secret": True})
#: Declares a setting that affects programs outside the sandbox: until a commit is live, it can only revert it.
once_live = partial(field, metadata={"in_force": unless_reverted})


class Part(Frozen):
    """The settings of one capability, whose entry in capabilities.py names the class."""

    @classmethod
    def of(cls, site: "Site | Loaded") -> Self:
        """Return the settings of a site as an instance of this class. Without the capability, return the defaults."""
        return site.settings if isinstance(site.settings, cls) else cls()

    @property
    def extra(self) -> str:
        """The extra of releaser that these settings need, such as `s3`; empty for none."""
        return ""
