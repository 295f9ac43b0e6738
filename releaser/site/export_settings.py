"""Settings: The requirements file."""

from releaser.site.declaring import Part
from releaser.site.values import FileInside, Name


class ExportSettings(Part):
    """The requirements file."""

    #: A requirements file in the project that releaser writes from the lock and commits with it; no symlinks.
    requirements_export: FileInside | None = None
    #: The dependency group in that file. Default: `prod` or `production`. `none` omits all groups.
    requirements_export_group: Name | None = None
    #: Write the hashes of all packages into that file. pip does not accept hashes in a constraints file.
    requirements_export_hashes: bool = True
