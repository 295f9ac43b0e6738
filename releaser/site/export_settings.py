"""Settings: The requirements file."""

from releaser.site.declaring import Part
from releaser.site.values import FileInside, Name


class ExportSettings(Part):
    """The requirements file."""

    #: A requirements file inside the project, behind no symlink, that is written from the lock and committed with it.
    requirements_export: FileInside | None = None
    #: The dependency group in that file; else `prod` or `production`. `none` leaves all out.
    requirements_export_group: Name | None = None
    #: Whether that file has the hashes of all files; pip takes no such file for constraints.
    requirements_export_hashes: bool = True
