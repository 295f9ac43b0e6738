"""How settings are declared: the type of a field says how its values are read, the comment above it what it is for.

The types with their parsers are at the end of values.py. A module that declares settings must not postpone the
evaluation of annotations.
"""

from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Self

from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.site.loading import Loaded
    from releaser.site.site import Site

#: Declares a setting that is never shown.
secret = partial(field, repr=False, metadata={"secret": True})


class Part(Frozen):
    """The settings of one capability, which names the class in capabilities.py."""

    @classmethod
    def of(cls, site: "Site | Loaded") -> Self:
        """Return the settings of a site as these, which they are, too. Without the capability, return the defaults."""
        return site.settings if isinstance(site.settings, cls) else cls()
