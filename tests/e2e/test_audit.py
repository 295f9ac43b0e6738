"""Known vulnerabilities: the command `audit`, the gate, mail and `status`, and fixes before all else."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.scenes import changes, no_change, says
from tests.support.commands import uv_executable
from tests.support.index import serve_index
from tests.support.servers import Advisories, advisory_service
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server, read_mail


@pytest.fixture
def service() -> Iterator[Advisories]:
    """A service of advisories."""
    with advisory_service() as running:
        yield running


def use_service(site: SampleSite, service: Advisories, **settings: str) -> None:
    """Let a site ask this service."""
    uv = site.base / "uv"
    script = f'#!/bin/sh\ncase " $* " in *" audit "*) set -- "$@" --service-url {service.url};; esac\n'
    uv.write_text(f'{script}exec {uv_executable()} "$@"\n', encoding="utf-8")
    uv.chmod(0o755)
    chosen = {"uv": str(uv), "audit": "report"} | settings
    site.write_dotenv({f"RELEASER_{name.upper()}": value for name, value in chosen.items()})


@pytest.mark.slow
def test_law_25_no_known_vulnerabilities_only_if_the_service_answered(site: SampleSite, service: Advisories) -> None:
    """All is known; then the service is down; then there is a vulnerability, which may be ignored."""
    use_service(site, service)
    with no_change(site):
        assert site.json("audit")["headline"] == "No known vulnerabilities in 3 packages."
    assert sorted(service.asked) == ["alpha", "beta", "localtools"]
    service.status = 503
    answer = site.json("audit", check=4)
    assert "unknown" in answer["headline"], answer
    assert "No known" not in answer["headline"], answer
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        use_service(site, Advisories(f"http://127.0.0.1:{silent_server.getsockname()[1]}"))
        assert "still running after 10 s" in site.json("audit", check=4)["headline"]
    use_service(site, service)
    service.status = 200
    service.add("alpha", "GHSA-1", ("1.0.0",), "1.1.0")
    answer = site.json("audit", check=10)
    assert [(each["name"], each["id"], each["fixes"]) for each in answer["advisories"]] == [
        ("alpha", "GHSA-1", ["1.1.0"])
    ]
    use_service(site, service, audit_ignore="cve-0")
    assert site.json("audit")["advisories"] == []


@pytest.mark.slow
def test_law_25_a_vulnerability_is_news_once_and_a_fix_alone_is_taken(
    make_site: SiteFactory, service: Advisories
) -> None:
    """A quiet night mails a new advisory once; `--only security` takes the lowest that fixes it."""
    site = make_site.live()
    with mail_server() as server:
        use_service(site, service, smtp_host=server.host, updater_admins="ada@example.org")
        service.add("alpha", "GHSA-1", ("1.0.0", "1.1.0"), "1.1.1")
        site.releaser("update", check=0)
        site.releaser("update", check=0)
        (mail,) = (read_mail(mail) for _, mail, _ in server.mails)
        assert "alpha 1.0.0 has a known vulnerability, GHSA-1: CVE-0; alpha runs what strangers send" in mail
        status = site.json("status", check=10)
        assert [problem["code"] for problem in status["attention"]] == ["vulnerable"]
        for version in ("1.1.0", "1.1.1", "1.2.0"):
            site.publish("alpha", version)
        site.publish("beta", "1.1.0")
        preview = site.json("update", "--only", "security", "--dry-run")
        answer = site.json("update", "--only", "security")
        assert changes(answer) == changes(preview) == {"alpha": ("1.0.0", "1.1.1")}
        text = read_mail(server.mails[-1][1])
        assert (text.partition("\n")[0], "fixes CVE-0" in text) == (
            "1 security fix: alpha 1.0.0 → 1.1.1 is live.",
            True,
        )
        assert answer["changes"][0]["fixes"] == ["CVE-0"]
        assert site.json("status")["attention"] == []
        service.status = 503
        use_service(site, service, upgrade="security")
        site.releaser("update", check=0)
        assert [problem["code"] for problem in site.json("status", check=10)["attention"]] == ["unknown-audit"]
        service.status = 200
        use_service(site, service, upgrade="all")
        site.releaser("update", check=0)
        site.releaser("rollback", check=0)
        assert site.json("status")["audit"]["unknown"] == "the last audit was of other packages."


@pytest.mark.slow
def test_law_25_a_fix_passes_the_age_limit(make_site: SiteFactory, service: Advisories, tmp_path: Path) -> None:
    """With `min_age`, the lowest fixing version is taken although it is young; a newer one, and others, are not."""
    with serve_index(tmp_path / "outer" / "index") as index:
        site = make_site()
        places = f'[[tool.uv.index]]\nname = "own"\nurl = "{index.url}"\ndefault = true'
        site.replace("pyproject.toml", '[tool.uv]\nno-index = true\nfind-links = ["../index"]', places)
        site.push_commit("An index", lock=True)
        site.releaser("init", check=0)
        index.ages.update({"alpha-1.2": 1, "alpha-1.3": 1, "beta-1.1": 1})
        for name, version in (("alpha", "1.1.0"), ("alpha", "1.2.0"), ("alpha", "1.3.0"), ("beta", "1.1.0")):
            site.publish(name, version)
        use_service(site, service, min_age="3d")
        service.add("alpha", "GHSA-1", ("1.0.0", "1.1.0"), "1.2.0")
        answer = site.json("update")
        assert changes(answer) == {"alpha": ("1.0.0", "1.2.0")}
        rows = {row["name"]: row["blocked"] for row in site.json("outdated")["packages"]}
    assert {name: [(entry["version"], entry["by"]) for entry in blocked] for name, blocked in rows.items()} == {
        "alpha": [("1.3.0", "age")],
        "beta": [("1.1.0", "age")],
    }


@pytest.mark.slow
def test_law_25_a_candidate_with_a_new_vulnerability_is_refused(site: SampleSite, service: Advisories) -> None:
    """`audit = "refuse"`: exit 5, live unchanged; without an answer exit 4; accepted, the same release goes live."""
    use_service(site, service, audit="refuse")
    service.add("alpha", "GHSA-1", ("1.1.0",), "1.1.1")
    site.publish("alpha", "1.1.0")
    live = site.live()
    finished = site.releaser("update", check=5)
    says(finished, "GHSA-1", "releaser hold alpha")
    service.status = 503
    says(site.releaser("update", check=4), "unknown")
    assert site.live() == live
    service.status = 200
    site.releaser("update", check=5)
    use_service(site, service, audit="refuse", audit_ignore="GHSA-1")
    answer = site.json("update")
    assert (site.version("alpha"), len(site.test_runs())) == ("1.1.0", 1), answer


@pytest.mark.slow
def test_law_06_25_a_fix_on_hold_gives_way_to_the_next_one_of_its_series(site: SampleSite, service: Advisories) -> None:
    """A person rolls the fix back; until a version after it appears, nothing is taken, and the reason is said."""
    use_service(site, service, upgrade="security")
    service.add("alpha", "GHSA-1", ("1.0.0", "1.1.0"), "1.1.1")
    for version in ("1.1.0", "1.1.1", "1.2.0"):
        site.publish("alpha", version)
    assert changes(site.json("update")) == {"alpha": ("1.0.0", "1.1.1")}
    site.releaser("rollback", check=0)
    assert site.json("update")["result"] == "no-changes"
    (reason,) = (row["reason"] for row in site.json("status", check=10)["decision"]["skipped"] if "fixes" in str(row))
    assert reason == "fixes a known vulnerability, but is on hold by a rollback"
    site.publish("alpha", "1.1.2")
    assert changes(site.json("update")) == {"alpha": ("1.0.0", "1.1.2")}
