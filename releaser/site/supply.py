"""The supply of a site: the lock, wheels and files of its source, for all code that locks, installs and publishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.system.frozen import Frozen, field
from releaser.system.sections import Facts

if TYPE_CHECKING:
    from releaser.locks.lock import LockFile


class Provenance(Frozen):
    """The origin of a release from another host: its name and sequence there, its digest, and its signer."""

    release: str
    sequence: int
    sha256: str
    signer: str
    #: The digest of the additional files, and those that this host did not have before.
    included_sha256: str = ""
    brought: tuple[str, ...] = ()


#: The provenance of a release that was built here.
MADE_HERE = Provenance(release="", sequence=-1, sha256="", signer="")


class SupplyFacts(Facts):
    """The origin of a release."""

    #: The packages of `update --override`; a release with any goes live only on a test host that gets it as a bundle.
    overrides: tuple[str, ...] = ()
    #: The bundle that it was installed from; None for none.
    bundle: Provenance | None = None

    @property
    def tried(self) -> frozenset[str]:
        """The names of packages that it has from elsewhere than an index."""
        pairs = (override.partition(" @ ") for override in self.overrides)
        return frozenset(name.partition("[")[0] for name, _, place in pairs if place)

    @property
    def provenance(self) -> Provenance:
        """The bundle that it was installed from, or a value for releases that this host built."""
        return self.bundle or MADE_HERE


class FailureWords(Frozen):
    """The words for failed tests of a release that a source provides."""

    #: The new parts with which the tests failed, and the name of the state without them.
    news: str = "with the new packages or commits"
    before: str = "before this update"
    #: The verdict, if only the release fails.
    verdict: str = ": this update is the cause"
    #: The consequence for the release and, if the live release fails too, for later updates.
    again: str = "this candidate is not tried again until a package or the code changes."
    then: str = "; then updates continue."


class Supply(Frozen):
    """The lock, wheels and files that a source provides. By default none: the settings name indexes and services."""

    #: Returns the lock that goes live as it is; None if the rules of the site choose the versions.
    read_lock: Callable[[], LockFile] | None = None
    #: The name of that lock in messages, such as "the committed lock".
    takes: str = ""
    #: True if the lock of the live release is committed and pushed.
    publishes: bool = True
    #: True if releaser may ask indexes, the remote and services.
    asks_others: bool = True
    #: True if the tests of the project run here.
    runs_tests: bool = True
    #: The environment variables for uv.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: Converts the resolved lock to the lock that uv installs from.
    to_install: Callable[[bytes], bytes] = bytes
    #: The additional files, by their paths in the project.
    included: Mapping[str, Path] = field(default_factory=dict)
    #: The advice if building the project needs other files; empty for the advice for a checkout.
    advice: str = ""
    #: True if its release may go live; one that may not is only tested, and no failure keeps it from another try.
    goes_live: bool = True
    failure: FailureWords = FailureWords()
    #: The packages of `update --override`, for the manifest.
    overrides: tuple[str, ...] = ()
    #: The origin of the release, for its manifest.
    provenance: Provenance | None = None

    @property
    def facts(self) -> SupplyFacts:
        """The facts for the manifest of a release that is built from it."""
        return SupplyFacts(overrides=self.overrides, bundle=self.provenance)

    @property
    def upgrades(self) -> bool:
        """True if the rules of this site choose the versions."""
        return self.read_lock is None

    @property
    def made_elsewhere(self) -> bool:
        """True if it provides a release of another host, whose lock is not compared with others."""
        return self.provenance is not None

    @property
    def included_sha256(self) -> str:
        """The digest of the additional files; empty without any."""
        return self.provenance.included_sha256 if self.provenance is not None else ""
