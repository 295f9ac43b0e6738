"""`verify` names whatever was changed in a release, no rollback goes there, and an update heals what is live."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from releaser.locks.lock import LockFile
from tests.e2e.scenes import body, on_terminal, outer_snapshot, states
from tests.support.sites import SampleSite, SiteFactory


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site with three good releases: one adopted, one kept, one live."""
    return make_site.adopted("1.1.0", "1.2.0")


def packages_of(row: Mapping[str, Any]) -> Path:
    """Return where the packages of a release lie, from its row in the list."""
    return next(Path(row["path"]).glob("lib/*/site-packages"))


def problems(answer: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return what `verify --json` says of one release: of each kind, which files or packages."""
    found: dict[str, set[str]] = {}
    for one in answer["problems"]:
        name = one["package"] or str(one["path"]).rpartition("/site-packages/")[2]
        found.setdefault(one["kind"], set()).add(name)
    return found


@pytest.mark.story
def test_harm_is_named_no_rollback_goes_there_and_the_live_release_is_healed(site: SampleSite) -> None:
    live, kept, adopted = site.json("list")
    versions, everything = {name: site.live_version(name) for name in ("alpha", "beta")}, outer_snapshot(site)
    assert site.json("verify")["problems"] == []
    assert "is unchanged since it was sealed" in site.releaser("verify", "--check", check=0).stderr
    assert outer_snapshot(site) == everything
    module = packages_of(kept) / "alpha" / "__init__.py"
    seen = module.stat()
    module.write_text(module.read_text(encoding="utf-8").replace("1.1.0", "9.9.9"), encoding="utf-8")
    os.utime(module, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # a quick look sees nothing
    (packages_of(kept) / "beta" / "__init__.py").unlink()
    found = problems(site.json("verify", kept["id"], check=10))
    assert found == {"changed": {"alpha/__init__.py"}, "missing": {"beta/__init__.py"}}
    told = site.releaser("verify", kept["id"], check=10)
    assert told.stdout.splitlines()[0] == f"{kept['id']}: 2 problems"
    assert "    alpha/__init__.py: its contents differ from RECORD" in told.stdout.splitlines()
    assert f"{kept['id']} does not verify: 2 problems" in told.stderr
    shown = site.json("show", kept["id"])
    assert (shown["broken"], "beta/__init__.py is missing" in shown["damage"]) == (True, True)
    assert not site.json("list")[1]["broken"]  # which looks at no file of many releases
    assert f"{kept['id']} is damaged: beta/__init__.py is missing" in site.releaser("list", "-v").stderr
    refused = site.releaser("rollback", kept["id"], check=9)
    assert f"release {kept['id']} is damaged" in refused.stderr
    assert f"`releaser rollback {adopted['id']}`" in refused.stderr
    assert "live: unchanged" in refused.stderr
    assert site.json("rollback", "--dry-run")["would"][0] == f"would go from {live['id']} to {adopted['id']}"

    site.publish("gamma", "1.0.0")
    index = ("--no-index", "--find-links", site.index.path)
    site.uv("pip", "install", "--quiet", "--python", site.link, *index, "gamma", "alpha==1.1.0")
    module = packages_of(live) / "beta" / "__init__.py"
    module.write_text(module.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    found = problems(site.json("verify", check=10))
    assert (found["package"], found["changed"]) == ({"alpha", "gamma"}, {"beta/__init__.py"})
    words = "alpha 1.2.0 → 1.1.0, gamma 1.0.0 added; beta/__init__.py is changed"
    status = site.json("status")
    assert status["drift"]["packages"] == [
        {"name": "alpha", "old": "1.2.0", "new": "1.1.0"}, {"name": "gamma", "old": None, "new": "1.0.0"},
    ]  # fmt: skip
    assert [Path(one["path"]).parts[-2:] for one in status["drift"]["files"]] == [("beta", "__init__.py")]
    assert any(words in problem for problem in status["problems"])
    site.publish("beta", "1.1.0")
    assert words in site.json("update")["headline"]
    assert {name: site.live_version(name) for name in versions} == versions
    assert site.live_id() != live["id"]
    assert words in body(site)
    assert site.json("verify")["ok"]


def test_every_release_can_be_looked_at_also_without_its_manifest(site: SampleSite) -> None:
    status, text = on_terminal(site, "verify", "--all", "--tests")
    assert status == 0
    assert text.count("is unchanged since it was sealed") == 3
    site.releaser("verify", "--all", site.live_id(), check=2)
    site.releaser("verify", "--all", "--health", check=2)
    site.releaser("verify", "nothing", check=9)
    site.json("verify", "--health", env={"RELEASER_HEALTH_CHECK": "true"})
    ill = {"RELEASER_HEALTH_CHECK": "false", "RELEASER_HEALTH_RETRIES": "0"}
    assert problems(site.json("verify", "--health", check=10, env=ill)) == {"health": {"None"}}
    nothing = {"RELEASER_TEST_COMMAND": "echo Ran 0 tests in 0.000s"}
    (found,) = site.json("verify", "--tests", check=10, env=nothing)["problems"]
    assert "no tests ran" in found["message"]
    site.break_tests()
    assert problems(site.json("verify", "--tests", check=10)) == {"tests": {"None"}}

    live, kept, _ = (Path(row["path"]).parent for row in site.json("list"))
    (kept / "manifest.json").write_text("{", encoding="utf-8")
    assert [(one["release"], one["ok"]) for one in site.json("verify", "--all", check=10)][-1] == (kept.name, False)
    (live / "manifest.json").unlink()
    said = site.releaser("verify", check=9).stderr
    assert f"the manifest of the live release {live.name} is gone" in said
    assert "`releaser update` rebuilds it" in said


def test_an_adopted_release_is_compared_with_what_adoption_found(make_site: SiteFactory) -> None:
    site = make_site(packages={"alpha": "1.0.0", "beta": "1.0.0"}, venv=True)
    place = next(site.link.resolve().glob("lib/*/site-packages"))
    metadata = next(place.glob("alpha-*.dist-info")) / "METADATA"
    rewrite(place / "alpha" / "__init__.py", "# patched by hand\n")
    rewrite(metadata, metadata.read_text(encoding="utf-8") + "\n")
    (place / "beta" / "__init__.py").unlink()
    (place / "local_patch.py").write_text("", encoding="utf-8")
    site.publish("gamma", "1.0.0")
    site.uv("pip", "install", "--quiet", "--python", site.link, "gamma")
    site.publish("alpha", "1.0.1")
    site.releaser("init", check=0)
    assert LockFile.read(site.path / "uv.lock").versions["alpha"] == "1.0.0"
    assert site.json("verify")["problems"] == []

    place = packages_of(site.json("list")[0])
    rewrite(place / "alpha" / "__init__.py", "# patched by somebody else\n")
    assert problems(site.json("verify", site.live_id(), check=10)) == {"changed": {"alpha/__init__.py"}}
    site.uv("pip", "uninstall", "--quiet", "--python", site.link, "gamma")
    (problem,) = [one for one in site.json("verify", check=10)["problems"] if one["kind"] == "package"]
    assert problem["message"] == "it is not installed, and was 1.0.0 when it was adopted"
    assert list(states(site).values()) == ["live"]


def rewrite(path: Path, text: str) -> None:
    """Write a file again: its other names, in uv's cache for one, keep what they had."""
    path.unlink()
    path.write_text(text, encoding="utf-8")
