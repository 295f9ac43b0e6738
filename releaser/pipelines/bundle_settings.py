"""Settings of bundles: the files that they include, and trusted signers."""

from releaser.site.declaring import Part
from releaser.site.values import FilePath, Patterns


class BundleSettings(Part):
    """What a bundle includes, and whose bundles are installed."""

    #: The files beside the code that a bundle includes, as paths and patterns in the project. They are tested, go live
    #: and go back with its release; one that was edited on a host stays, and is named.
    bundle_include: Patterns = ()
    #: Whose bundles this host installs: an allowed_signers file, as ssh-keygen(1) describes it.
    bundle_signers: FilePath | None = None
    #: The keys whose signatures are no longer accepted, as a key revocation list or one public key a line.
    bundle_revoked: FilePath | None = None
