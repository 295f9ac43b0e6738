"""Settings: How long releases are kept."""

from releaser.site.declaring import Part
from releaser.site.values import Duration


class RetentionSettings(Part):
    """How long releases are kept."""

    #: How many good releases to keep in addition to the live release.
    keep: int = 5
    #: Good releases younger than this are also kept.
    keep_within: Duration = 30 * 86400.0
    #: How many failed releases, rolled-back releases and candidates of `--override` to keep, of each kind.
    keep_failed: int = 2
    #: The minimum age of a release before it may be deleted, whatever the other settings say.
    keep_at_least: Duration = 3600.0

    def places(self, kind: str) -> int:
        """Return how many releases of a kind are kept."""
        return {"good": self.keep, "candidate": 0, "live": 0}.get(kind, self.keep_failed)
