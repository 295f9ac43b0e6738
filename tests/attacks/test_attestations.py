"""The publisher that an index names for a file is verified, and a change of publisher is reported."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.scenes import from_server
from tests.support.sigstore import Sigstore
from tests.support.simple_index import SimpleIndex, serving
from tests.support.sites import SampleSite, SiteFactory

EVIL = {"alpha/__init__.py": "__version__ = '1.1.0'\nEVIL = True\n"}
OWN = "example/alpha"
ROOT = {"RELEASER_ATTESTATIONS_ROOT": "../root.json"}


@dataclass(frozen=True, kw_only=True)
class Served:
    """A site that takes its packages from an index with attestations, on which it runs already."""

    site: SampleSite
    index: SimpleIndex
    sigstore: Sigstore

    def publish(self, version: str, by: str = "", *, workflow: str = "publish.yml") -> Path:
        """Publish alpha, and what attests that a repository has done so."""
        wheel = self.site.index.publish("alpha", version)
        if by:
            self.index.provenance[wheel.name] = self.sigstore.provenance(wheel, by, workflow=workflow)
        return wheel

    def require(self) -> None:
        """Let attestations be required."""
        self.site.write_dotenv({"RELEASER_ATTESTATIONS": "require", **ROOT})

    def refused(self) -> str:
        """Let an update be refused; return why."""
        live = self.site.live_id()
        finished = self.site.releaser("update", check=4)
        assert self.site.live_id() == live
        return finished.stderr

    def attested(self) -> tuple[str, list[str]]:
        """Update; return what is said of attestations, and what is a problem."""
        report = self.site.json("update")
        assert report["result"] == "updated"
        return next(one["detail"] for one in report["steps"] if one["step"] == "attestations"), report["problems"]


@pytest.fixture
def served(make_site: SiteFactory) -> Iterator[Served]:
    """A site of which alpha 1.0.0 is live, which its own repository has published."""
    site, sigstore = make_site(venv=True), Sigstore()
    (site.outer / "root.json").write_text(json.dumps(sigstore.root), encoding="utf-8")
    site.write_dotenv(ROOT)
    with serving(site.index.path) as index:
        from_server(site, index.url, lock=True)
        site.releaser("init", check=0)
        wheel = next(site.index.path.glob("alpha-1.0.0-*.whl"))
        index.provenance[wheel.name] = sigstore.provenance(wheel, OWN)
        yield Served(site=site, index=index, sigstore=sigstore)


def test_releases_of_its_repository_are_accepted_and_remembered(served: Served) -> None:
    served.index.provenance.clear()  # what is live was not attested, so that nothing but memory can tell afterwards
    served.publish("1.1.0", OWN)
    assert served.attested() == ("1 of 1 package attested", [])
    served.index.provenance.clear()
    served.publish("1.2.0")
    lost = "no longer has an attestation; it was published by example/alpha (GitHub, publish.yml)"
    assert lost in str(served.attested()[1])


def test_an_index_that_strips_attestations_is_reported_and_refused_where_they_are_required(served: Served) -> None:
    """What a search for culprits builds several times is told once."""
    served.publish("1.1.0")
    served.site.publish("beta", "1.1.0", broken=True)
    told, problems = served.attested()
    assert told == "0 of 2 packages attested"
    lost = "alpha-1.1.0-py3-none-any.whl of alpha 1.1.0 no longer has an attestation"
    assert [lost in one for one in problems].count(True) == 1
    assert served.site.live_version("beta") == "1.0.0"
    served.require()
    served.publish("1.2.0")
    assert "`releaser accept alpha`" in served.refused()
    served.site.releaser("accept", "alpha", check=0)
    assert served.attested() == ("0 of 1 package attested", [])
    served.publish("1.3.0")
    assert served.attested()[1] == []


def test_attestations_that_do_not_verify_are_refused(served: Served) -> None:
    served.publish("1.1.0", OWN)
    served.site.index.publish("alpha", "1.1.0", modules=EVIL)  # under the attestation of the true one
    assert "has an attestation that does not verify: its attestations are for another file" in served.refused()

    wheel = served.publish("1.1.1", OWN)  # with the signature of something else
    envelope = served.index.provenance[wheel.name]["attestation_bundles"][0]["attestations"][0]["envelope"]
    envelope["signature"] = "AAAA"
    said = served.refused()
    assert "has an attestation that does not verify: Verification failed: DSSE: invalid signature" in said
    assert "An outdated `attestations_root` or version of pypi-attestations may be the cause." in said

    wheel = served.publish("1.1.2", "evil/alpha")  # of another repository under the name of its own
    served.index.provenance[wheel.name]["attestation_bundles"][0]["publisher"]["repository"] = OWN
    assert "has an attestation that does not verify: Verification failed" in served.refused()

    served.publish("1.1.3", "evil/alpha")  # of another publisher, until somebody accepts it
    dry, said = served.site.releaser("update", "--dry-run", check=0).stdout, served.refused()
    assert "packages differ from those of the live release: alpha 1.1.3 is now published by evil/alpha" in dry
    assert "alpha 1.1.3 is now published by evil/alpha (GitHub, publish.yml) (before: example/alpha" in said
    served.site.releaser("accept", "alpha", check=0)
    assert served.attested() == ("1 of 1 package attested", [])
    served.publish("1.2.0", "Evil/Alpha", workflow="release.yml")
    assert served.attested() == ("1 of 1 package attested", [])


def test_an_unknown_publisher_blocks_only_packages_that_must_be_attested(served: Served) -> None:
    wheel = served.publish("1.1.0")
    served.index.provenance[wheel.name] = Sigstore().provenance(wheel, OWN)  # which somebody else has signed
    served.require()
    said = served.refused()
    assert "the publisher of alpha 1.1.0 could not be determined: Verification failed" in said
    assert "root.json may be outdated; or pypi-attestations" in said
    served.site.write_dotenv(ROOT)  # else keys that have changed would hold up all that mends security
    assert served.attested()[0].startswith("0 of 1 package attested; unknown: alpha 1.1.0: Verification failed")
    served.index.provenance[served.publish("1.2.0", OWN).name] = None  # the index does not answer
    served.require()
    assert "the publisher of alpha 1.2.0 could not be determined: 127.0.0.1" in served.refused()
    served.site.write_dotenv(ROOT)
    assert served.attested()[1] == []
