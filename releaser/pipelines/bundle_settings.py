"""Settings of bundles: the files that they include, and trusted signers."""

from releaser.site.declaring import Part
from releaser.site.values import FilePath, Patterns


class BundleSettings(Part):
    """The files in a bundle, and the signers whose bundles this host installs."""

    #: Untracked files that a bundle includes: paths and patterns in the project. A file that was edited on a host is
    #: not overwritten.
    bundle_include: Patterns = ()
    #: The signers whose bundles this host installs: an allowed_signers file, see ssh-keygen(1).
    bundle_signers: FilePath | None = None
    #: Keys whose signatures this host rejects: a key revocation list, or one public key a line.
    bundle_revoked: FilePath | None = None
