"""Settings: What a staging tree has beside what git tracks."""

from pathlib import Path

from releaser.site.declaring import Part
from releaser.site.values import Patterns
from releaser.tools.code_files import CACHES, matches


class StagingSettings(Part):
    """What a staging tree has beside what git tracks."""

    #: What git does not track and is copied into the staging tree, so that tests may write to it.
    staging_copy: Patterns = ()
    #: What git does not track and is a symlink in the staging tree, to that of the checkout; refused without a sandbox.
    staging_link: Patterns = ()
    #: What git does not track and is left out of the staging tree.
    staging_omit: Patterns = ()

    def leaves_out(self, *names: str) -> bool:
        """Whether one of these paths never comes into a staging tree, as it is named so."""
        return any(matches(name, self.staging_omit) for name in names)

    def omits(self, name: str, source: Path) -> bool:
        """Whether a path never comes into a staging tree: it is named so, or a cache or a virtual environment."""
        if self.leaves_out(name):
            return True
        if matches(name, (*self.staging_copy, *self.staging_link)):
            return False
        return matches(name, CACHES) or (source / "pyvenv.cfg").is_file()
