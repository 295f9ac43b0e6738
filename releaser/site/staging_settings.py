"""Settings: the untracked files in a staging tree."""

from pathlib import Path

from releaser.site.declaring import Part
from releaser.site.values import Patterns
from releaser.tools.code_files import CACHES, matches


class StagingSettings(Part):
    """The untracked files in a staging tree."""

    #: Untracked paths that releaser copies into the staging tree, so that tests may write to them.
    staging_copy: Patterns = ()
    #: Untracked paths that the staging tree links to the checkout; refused without a sandbox.
    staging_link: Patterns = ()
    #: Untracked paths that releaser omits from the staging tree.
    staging_omit: Patterns = ()

    def omits_by_name(self, *names: str) -> bool:
        """True if one of these paths never comes into a staging tree, as it is named so."""
        return any(matches(name, self.staging_omit) for name in names)

    def omits(self, name: str, source: Path) -> bool:
        """True if a path never comes into a staging tree: it is named so, or a cache or a virtual environment."""
        if self.omits_by_name(name):
            return True
        if matches(name, (*self.staging_copy, *self.staging_link)):
            return False
        return matches(name, CACHES) or (source / "pyvenv.cfg").is_file()
