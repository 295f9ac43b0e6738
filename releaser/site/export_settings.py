"""Settings: The requirements file."""

from releaser.site.declaring import Part
from releaser.site.values import FileInside, Name


class ExportSettings(Part):
    """The requirements file."""

    #: A requirements file in the project that releaser writes from the lock and commits with it. It must not be a
    #: symlink.
    requirements_export: FileInside | None = None
    #: The dependency group in `requirements_export`. Default: `prod` or `production`. `none` omits all groups.
    requirements_export_group: Name | None = None
    #: Write hashes into `requirements_export`. pip accepts no hashes in a constraints file.
    requirements_export_hashes: bool = True
