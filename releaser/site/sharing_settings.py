"""Settings: packages that a new release takes from the live release."""

from typing import Literal

from releaser.site.declaring import Part, once_live


class SharingSettings(Part):
    """Packages that a new release takes from the live release."""

    #: Copy packages that do not change from the live release, and store equal files once, as read-only hard links.
    #: `auto` links nothing with `group_writable` or for root, whom read-only does not stop; `always` links for root
    #: too; `never` copies and links nothing.
    share_files: Literal["auto", "always", "never"] = once_live(default="auto")

    @property
    def takes(self) -> bool:
        """True if a new release takes packages that stay from the live release."""
        return self.share_files != "never"

    def links(self, *, user: int, group_writable: bool) -> bool:
        """True if equal files of releases that `user` owns are hard links: their modes then protect them."""
        return self.takes and not group_writable and (user != 0 or self.share_files == "always")
