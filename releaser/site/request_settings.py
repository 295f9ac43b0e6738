"""The setting for requests from the page of `releaser serve`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.site.declaring import Part, once_live
from releaser.site.values import FilePath

if TYPE_CHECKING:
    from releaser.site.site import Site


class RequestSettings(Part):
    """The requests that people make on the page of `releaser serve`."""

    #: The directory from which runs take the requests of `releaser serve`; without it, the page has no buttons.
    request_dir: FilePath | None = once_live(default=None)


def request_directory(site: "Site") -> Path | None:
    """Return the directory from which a site takes requests; None if it takes none."""
    place = RequestSettings.of(site).request_dir
    return Path(os.path.normpath(site.project.checkout / Path(place).expanduser())) if place else None
