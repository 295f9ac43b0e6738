"""How settings are declared: the type of a field selects the parser, and the comment above it is its documentation.

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
    """The settings of one capability, whose entry in capabilities.py names the class."""

    @classmethod
    def of(cls, site: "Site | Loaded") -> Self:
        """Return the settings of a site as an instance of this class. Without the capability, return the defaults."""
        return site.settings if isinstance(site.settings, cls) else cls()
