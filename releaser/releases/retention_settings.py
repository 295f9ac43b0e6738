"""Settings: How long releases are kept."""

from releaser.site.declaring import Part
from releaser.site.values import Duration


class RetentionSettings(Part):
    """How long releases are kept."""

    #: How many good releases are kept in addition to the live release.
    keep: int = 5
    #: Good releases younger than this are kept, too.
    keep_within: Duration = 30 * 86400.0
    #: How many failed releases, how many rolled-back ones, and how many candidates of `--override` are kept.
    keep_failed: int = 2
    #: How old a release must be to be deleted, whatever the other settings say.
    keep_at_least: Duration = 3600.0

    def places(self, kind: str) -> int:
        """Return how many releases of a kind are kept."""
        return {"good": self.keep, "candidate": 0, "live": 0}.get(kind, self.keep_failed)
