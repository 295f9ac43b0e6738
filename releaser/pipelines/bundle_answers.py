"""What the commands about bundles and channels answer with `--json`."""

from __future__ import annotations

from releaser.bundles.manifest import BundleDetails, BundleDifference
from releaser.bundles.pointer import ChannelDetails
from releaser.report import Plan

ANSWERS = {
    "bundle create": (BundleDetails,),
    "bundle show": (BundleDetails,),
    "bundle verify": (BundleDetails,),
    "bundle diff": (BundleDifference,),
    "channel publish": (ChannelDetails, Plan),
    "channel promote": (ChannelDetails, Plan),
    "channel rollback": (ChannelDetails, Plan),
    "channel show": (ChannelDetails,),
}
