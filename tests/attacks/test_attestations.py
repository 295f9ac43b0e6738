"""What an index tells of who published a file is verified, and what differs from before does not come in unnoticed."""

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
        self.site.write_dotenv({"RELEASER_ATTESTATIONS": "require", "RELEASER_ATTESTATIONS_ROOT": "../root.json"})

    def refused(self) -> str:
        """Let an update be refused; return why."""
        live = self.site.live_id()
        finished = self.site.releaser("update", check=4)
        assert self.site.live_id() == live
        return finished.stderr


@pytest.fixture
def served(make_site: SiteFactory) -> Iterator[Served]:
    """A site of which alpha 1.0.0 is live, which its own repository has published."""
    site, sigstore = make_site(venv=True), Sigstore()
    (site.outer / "root.json").write_text(json.dumps(sigstore.root), encoding="utf-8")
    site.write_dotenv({"RELEASER_ATTESTATIONS_ROOT": "../root.json"})
    with serving(site.index.path) as index:
        from_server(site, index.url, lock=True)
        site.releaser("init", check=0)
        wheel = next(site.index.path.glob("alpha-1.0.0-*.whl"))
        index.provenance[wheel.name] = sigstore.provenance(wheel, OWN)
        yield Served(site=site, index=index, sigstore=sigstore)


def attested(site: SampleSite, *args: str) -> tuple[str, list[str]]:
    """Update; return what is said of attestations, and what is a problem."""
    report = site.json("update", *args)
    assert report["result"] == "updated"
    return next(one["detail"] for one in report["steps"] if one["step"] == "attestations"), report["problems"]


def test_what_its_repository_has_published_comes_in_and_is_remembered(served: Served) -> None:
    served.index.provenance.clear()  # what is live was not attested, so that nothing but memory can tell afterwards
    served.publish("1.1.0", OWN)
    assert attested(served.site) == ("1 of 1 package attested", [])
    served.index.provenance.clear()
    served.publish("1.2.0")
    assert "no longer has an attestation; it was published by example/alpha (GitHub, publish.yml)" in str(
        attested(served.site)[1]
    )


def test_an_index_that_strips_attestations_is_told_of_and_refused_where_they_are_required(served: Served) -> None:
    served.publish("1.1.0")
    assert "alpha-1.1.0-py3-none-any.whl of alpha 1.1.0 no longer has an attestation" in str(attested(served.site)[1])
    served.require()
    served.publish("1.2.0")
    assert "`releaser accept alpha`" in served.refused()
    served.site.releaser("accept", "alpha", check=0)
    assert attested(served.site) == ("0 of 1 package attested", [])
    served.publish("1.3.0")
    assert attested(served.site)[1] == []


def test_what_a_search_for_culprits_builds_several_times_is_told_once(served: Served) -> None:
    served.publish("1.1.0")
    served.site.publish("beta", "1.1.0", broken=True)
    told, problems = attested(served.site)
    assert told == "0 of 2 packages attested"
    assert ["of alpha 1.1.0 no longer has an attestation" in one for one in problems].count(True) == 1
    assert served.site.live_version("beta") == "1.0.0"


def test_another_file_under_the_attestation_of_the_true_one_is_refused(served: Served) -> None:
    served.publish("1.1.0", OWN)
    served.site.index.publish("alpha", "1.1.0", modules=EVIL)
    assert "has an attestation that does not verify: its attestations are for another file" in served.refused()


def test_an_attestation_that_somebody_else_has_signed_is_refused_where_one_is_required(served: Served) -> None:
    wheel = served.publish("1.1.0")
    served.index.provenance[wheel.name] = Sigstore().provenance(wheel, OWN)
    dotenv = {"RELEASER_ATTESTATIONS_ROOT": "../root.json"}
    served.require()
    said = served.refused()
    assert "the publisher of alpha 1.1.0 could not be determined: Verification failed" in said
    assert "root.json may be outdated; or pypi-attestations" in said
    served.site.write_dotenv(dotenv)  # else keys that have changed would hold up all that mends security
    assert attested(served.site)[0].startswith("0 of 1 package attested; unknown: alpha 1.1.0: Verification failed")


def test_an_attestation_with_the_signature_of_something_else_is_refused(served: Served) -> None:
    wheel = served.publish("1.1.0", OWN)
    envelope = served.index.provenance[wheel.name]["attestation_bundles"][0]["attestations"][0]["envelope"]
    envelope["signature"] = "AAAA"
    said = served.refused()
    assert "has an attestation that does not verify: Verification failed: DSSE: invalid signature" in said
    assert "An outdated `attestations_root` or version of pypi-attestations may be the cause." in said


def test_an_attestation_of_another_repository_under_the_name_of_its_own_is_refused(served: Served) -> None:
    wheel = served.publish("1.1.0", "evil/alpha")
    served.index.provenance[wheel.name]["attestation_bundles"][0]["publisher"]["repository"] = OWN
    assert "has an attestation that does not verify: Verification failed" in served.refused()


def test_another_publisher_is_refused_until_somebody_accepts_it(served: Served) -> None:
    served.publish("1.1.0", "evil/alpha")
    dry, said = served.site.releaser("update", "--dry-run", check=0).stdout, served.refused()
    assert "packages differ from those of the live release: alpha 1.1.0 is now published by evil/alpha" in dry
    assert "alpha 1.1.0 is now published by evil/alpha (GitHub, publish.yml) (before: example/alpha" in said
    served.site.releaser("accept", "alpha", check=0)
    assert attested(served.site) == ("1 of 1 package attested", [])
    served.publish("1.2.0", "Evil/Alpha", workflow="release.yml")
    assert attested(served.site) == ("1 of 1 package attested", [])


def test_an_index_that_does_not_answer_holds_up_nothing_but_what_must_be_attested(served: Served) -> None:
    wheel = served.publish("1.1.0", OWN)
    served.index.provenance[wheel.name] = None
    served.require()
    assert "the publisher of alpha 1.1.0 could not be determined: 127.0.0.1" in served.refused()
    served.site.write_dotenv({"RELEASER_ATTESTATIONS_ROOT": "../root.json"})
    assert attested(served.site)[1] == []
