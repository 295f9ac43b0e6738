"""`update --override`: a candidate with a package from elsewhere is built and tested, and never goes live."""

import functools
import json
import os
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import edit_pyproject, outer_snapshot, states, step, steps
from tests.support.commands import git_executable, run
from tests.support.serving import Quiet, handler_server
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import write_files
from tests.support.wheels import BACKEND, build_wheel

DEV = "2.0.0.dev1"


def newer_of_both(site: SampleSite) -> None:
    site.publish("alpha", "1.1.0")
    site.publish("beta", "1.1.0", requires=["alpha<2"])


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site that needs alpha by way of beta alone, with a newer version of either on the index."""
    options: dict[str, Any] = {"dependencies": ["beta"], "requires": {"beta": ["alpha<2"]}}
    return make_site.adopted(prepare=newer_of_both, **options)


def a_wheel(site: SampleSite, name: str = "alpha", version: str = DEV, **options: Any) -> Path:
    place = site.outer.parent / "wheels"
    place.mkdir(exist_ok=True)
    return build_wheel(place, name, version, **options)


def a_directory(site: SampleSite, name: str = "alpha", *, requires: str = "") -> Path:
    place = site.outer.parent / "work" / name
    pyproject = f'[project]\nname = "{name}"\nversion = "{DEV}"\ndependencies = [{requires}]\n'
    backend = f'[build-system]\nrequires = ["{BACKEND}"]\nbuild-backend = "{BACKEND}"\n'
    module = f"src/{name.replace('-', '_')}/__init__.py"
    write_files(place, {"pyproject.toml": pyproject + backend, module: f'__version__ = "{DEV}"\n'})
    return place


def a_repository(site: SampleSite, branch: str) -> str:
    """Return the URL of a repository that has the package on this branch alone."""
    place = a_directory(site)
    for words in (
        ("init", "--quiet", "--template="),
        ("commit", "--quiet", "--allow-empty", "--message", "Begin"),
        ("switch", "--quiet", "--create", branch),
        ("add", "--all"),
        ("commit", "--quiet", "--message", "Fix the cart"),
        ("switch", "--quiet", "-"),
    ):
        identity = ("-c", "user.name=Grace", "-c", "user.email=grace@example.org")
        run([git_executable(), *identity, *words], cwd=place, env=site.env, check=0)
    return f"git+{place.as_uri()}@{branch}"


def tried(site: SampleSite, override: str | Path, *more: str, name: str = "alpha", check: int = 0) -> Any:
    """Try an override, and see that live, lock, repository and records are what they were."""
    before, records, mails = site.snapshot(), kept_records(site), len(site.outbox_mails())
    report = site.json("update", "--override", f"{name} @ {override}", *more, check=check)
    assert site.snapshot() == before
    assert kept_records(site) == records
    assert not report["live_changed"]
    assert len(site.outbox_mails()) == mails
    return report


def kept_records(site: SampleSite) -> dict[str, Any]:
    """Return what the state directory says of anything but the candidate: ledger (except its number), blocks."""
    found = [site.state_dir / name for name in ("ledger.json", "blocks.json", "pending.json")]
    content = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in found if path.exists()}
    del content["ledger.json"]["last_sequence"]
    return {**content, "remote": site.remote_head(), "left": sorted(path.name for path in site.outer.iterdir())}


def version_in(site: SampleSite, release: str, package: str = "alpha") -> str:
    """Return the version of a package in the venv of a release, and see that it is a copy of its own."""
    venv = site.state_dir / "releases" / release / "venv"
    code = f"import {package}, importlib.metadata as m; print(m.version({package!r}), {package}.__file__)"
    version, _, file = run(
        [venv / "bin" / "python", "-c", code], cwd=site.outer, env=site.env, check=0
    ).stdout.partition(" ")
    assert Path(file.strip()).is_relative_to(venv)
    return version


@pytest.mark.story
def test_a_wheel_is_tried_and_never_goes_live(site: SampleSite) -> None:
    live, wheel, before = site.live_id(), a_wheel(site), outer_snapshot(site)
    assert site.json("update", "--dry-run", "--override", f"alpha @ {wheel}")["would"] == [
        f"a candidate would be built and tested with alpha @ {wheel.as_uri()} instead of alpha 1.0.0",
        f".venv would still lead to {live}",
    ]
    assert outer_snapshot(site) == before
    report = tried(site, wheel)
    candidate = report["release"]
    assert (report["result"], report["exit_code"], report["command"]) == ("no-changes", 0, "update --override")
    assert report["previous"] == live
    assert [(one["name"], one["old"], one["new"]) for one in report["changes"]] == [("alpha", "1.0.0", DEV)]
    assert steps(report) == ["preflight", "stage", "resolve", "build", "test", "seal"]
    assert states(site) == {candidate: "candidate", live: "live"}
    assert (version_in(site, candidate), version_in(site, candidate, "beta")) == (DEV, "1.0.0")
    assert site.manage_runs("test")[-1].versions["alpha"] == DEV
    assert f"the tests pass with alpha @ {wheel.as_uri()}. Nothing went live" in report["headline"]
    assert report["headline"].endswith(str(site.state_dir / "releases" / candidate / "venv"))

    # Neither a lost ledger nor a hand makes it good.
    (site.state_dir / "ledger.json").unlink()
    assert states(site)[candidate] == "candidate"
    site.link.unlink()
    site.link.symlink_to(f"../.releaser/site/releases/{candidate}/venv")
    assert candidate in " ".join(site.json("status")["problems"])
    assert f"`releaser rollback {live}`" in site.releaser("init", check=3).stderr
    site.releaser("rollback", live, check=0)
    assert site.live_id() == live
    assert states(site) == {candidate: "rolled-back", live: "live"}


def test_source_is_built_whatever_the_project_says_of_the_package(site: SampleSite) -> None:
    lines = 'no-index = true\nconstraint-dependencies = ["alpha<2"]\noverride-dependencies = ["alpha==1.0.0"]'
    site.commit("Hold alpha", {"pyproject.toml": edit_pyproject(site, "no-index = true", lines)})
    site.push_commit("Lock", lock=True)
    somewhere = site.outer.parent / "somewhere"  # the current directory
    place = os.path.relpath(a_directory(site, "beta", requires='"alpha"'), somewhere)
    report = tried(site, a_repository(site, "fix/cart"), "--override", f"beta @ {place}")
    for name in ("alpha", "beta"):
        assert version_in(site, report["release"], name) == DEV, "a copy, and no editable install"


def test_a_person_is_told_without_a_terminal_too_and_a_password_in_a_url_is_kept_nowhere(site: SampleSite) -> None:
    wheel = a_wheel(site)

    class Handler(Quiet, SimpleHTTPRequestHandler):
        pass

    with handler_server(functools.partial(Handler, directory=str(wheel.parent))) as server:
        host = server.removeprefix("http://")
        url = f"http://ada:s3cret-token@{host}/{wheel.name}"
        words = ["--override", f"alpha @ {url}", "--override", "beta==1.1.0"]
        finished = site.releaser("update", *words, check=0)
    masked = f"alpha @ http://***@{host}/{wheel.name}"
    assert f"the tests pass with {masked}, beta==1.1.0. Nothing went live; the candidate is" in finished.stderr
    assert finished.stdout == ""
    (candidate,) = (name for name, state in states(site).items() if state == "candidate")
    assert (version_in(site, candidate), version_in(site, candidate, "beta")) == (DEV, "1.1.0")
    shown = site.releaser("show", candidate, check=0).stdout
    for said in ("origin:       override\n", masked, "seal"):
        assert said in shown
    assert [path for path in site.state_dir.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()] == []


def test_a_package_that_breaks_the_tests_is_told_and_keeps_nothing_out(site: SampleSite) -> None:
    broken = {"alpha/__init__.py": f'__version__ = "{DEV}"\nBROKEN = "test"\n'}
    report = tried(site, a_wheel(site, modules=broken), check=5)
    assert (report["result"], report["blame"]) == ("refused", "update")
    assert "the tests failed with alpha @ file://" in report["headline"]
    assert report["headline"].endswith("and passed on the live release")
    assert report["advice"].endswith("updates continue as before.")
    assert f"alpha {DEV} breaks the site" in report["output"]
    assert step(report, "test live release")["status"] == "ok"
    assert states(site)[report["release"]] == "failed"
    status = site.json("status")
    assert (status["failed_candidates"], status["on_hold"], status["problems"]) == ([], [], [])
    refused = site.releaser("rollback", report["release"], "--force", check=9)
    assert "was built to try alpha @" in refused.stderr
    assert "never goes live" in refused.stderr
    assert "no earlier good release" in site.releaser("rollback", check=9).stderr
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
    assert report["release"] in states(site)
    site.releaser("prune", check=0, env={"RELEASER_KEEP_FAILED": "0"})
    assert sorted(states(site).values()) == ["good", "live"]
    site.break_tests()
    report = tried(site, a_wheel(site), check=5)
    assert report["blame"] == "before"
    assert "it was failing without an override" in report["headline"]


def test_what_is_not_installed_is_not_said_to_have_passed(site: SampleSite) -> None:
    live = site.live_id()
    report = tried(site, a_wheel(site, "prodtools"), name="prodtools", check=4)
    assert "this site does not install it for the group local" in report["headline"]
    report = tried(site, a_wheel(site, "beta"), check=4)  # in the place of alpha
    assert report["headline"].startswith("no lock could be made with alpha @")
    assert "alpha" in report["output"]
    assert step(report, "resolve")["status"] == "failed"
    assert states(site) == {live: "live"}


# Before anything is done; more of what is refused is in tests/locks/test_overrides.py


def test_what_makes_no_sense_is_refused_before_anything_is_done(make_site: SiteFactory, site: SampleSite) -> None:
    before = outer_snapshot(site)
    for words, said in (
        (["gamma==1"], "gamma is not in uv.lock, so nothing would be tested"),
        (["alpha"], "names neither a source nor a version"),
        (["alpha==1.1.0", "--force"], "--force cannot be combined with --override"),
        (["alpha==1.1.0", "--from", "/srv/x"], "--from cannot be combined with --override"),
    ):
        finished = site.releaser("update", "--json", "--override", *words, check=2)
        assert said in finished.stderr
        assert "what to do:" in finished.stderr
        assert finished.stdout == ""
    assert outer_snapshot(site) == before
    other = make_site(venv=True, outer="other")
    unchanged = other.snapshot()
    for options in ([], ["--dry-run"]):
        said = other.releaser("update", "--override", "alpha==1.1.0", *options, check=3).stderr
        assert "no release is live" in said
    assert other.snapshot() == unchanged
