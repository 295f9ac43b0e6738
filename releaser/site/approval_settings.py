"""The setting for approvals."""

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from releaser.site.declaring import Part
from releaser.site.values import IntervalOrNever

if TYPE_CHECKING:
    from releaser.site.site import Site


class ApprovalSettings(Part):
    """The approval of releases by a person."""

    #: Make a ready release wait for `releaser approve`; it goes live without approval after this time, or `never`.
    approve_after: IntervalOrNever | None = None


def asks_for_approval(site: "Site") -> bool:
    """Say whether a release of a site needs approval."""
    return ApprovalSettings.of(site).approve_after is not None


def approval_deadline(site: "Site", asked: datetime) -> datetime | None:
    """Return when a release goes live without approval that was asked for at some time; None for never."""
    after = ApprovalSettings.of(site).approve_after or 0.0
    return None if after == math.inf else asked + timedelta(seconds=after)
