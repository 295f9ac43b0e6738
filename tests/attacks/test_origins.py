"""A package from another index, or another file of a known version, is refused until a person accepts it."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.scenes import edit_pyproject, from_server
from tests.support.simple_index import SimpleIndex, serving
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import LocalIndex, build_sdist

EVIL = {"alpha/__init__.py": "__version__ = '1.0.0'\nEVIL = True\n"}


@pytest.fixture
def index_of(make_site: SiteFactory) -> Iterator[tuple[SampleSite, SimpleIndex]]:
    """A site that takes its packages from a server, and that."""
    site = make_site(venv=True)
    with serving(site.index.path) as index:
        from_server(site, index.url, lock=True)
        site.releaser("init", check=0)
        yield site, index


def refused(site: SampleSite, command: str = "update") -> str:
    """Let a run be refused; return why."""
    live = site.live_id()
    finished = site.releaser(command, check=4)
    assert site.live_id() == live
    return finished.stderr


def test_another_file_of_the_same_version_is_refused_until_a_person_accepts_it(
    index_of: tuple[SampleSite, SimpleIndex],
) -> None:
    site, index = index_of
    hashes: list[tuple[list[str], str]] = [
        (["sha256"], "is a different"), (["md5"], "is a different"), ([], "no longer has a hash"),
    ]  # fmt: skip
    for algorithms, said in hashes:
        site.index.publish("alpha", "1.0.0", modules={"alpha/__init__.py": f"EVIL = {algorithms}\n"})
        index.algorithms = algorithms
        assert f"alpha-1.0.0-py3-none-any.whl of alpha 1.0.0 {said}" in refused(site)
        assert "`releaser accept alpha`" in refused(site)
        (asked,) = (one for one in site.json("status")["asked"] if one["name"] == "alpha")
        assert (asked["what"], bool(asked["since"])) == ("hash", True)
        before = site.snapshot()
        assert "alpha would be accepted" in site.releaser("accept", "--dry-run", "alpha", check=0).stdout
        assert site.snapshot() == before
        for name in ("Alpha", "alpha"):  # once more changes nothing
            site.releaser("accept", name, check=0)
        site.releaser("accept", "*", check=None)  # without the hashes of the others, they might be others as well
        assert site.json("status")["asked"] == []
        report = site.json("update")
        assert report["result"] == "updated"
        told = [one["detail"] for one in report["steps"]]
        assert any("accepted: alpha-1.0.0-py3-none-any.whl of alpha 1.0.0" in one for one in told)
        assert site.json("update")["result"] == "no-changes"


def test_a_person_accepts_that_file_and_no_other(index_of: tuple[SampleSite, SimpleIndex]) -> None:
    site, _ = index_of
    site.index.publish("alpha", "1.0.0", modules=EVIL)
    refused(site)
    said = site.releaser("accept", "beta", check=2).stderr
    assert "no update was refused because of beta" in said
    assert "Waiting for `releaser accept`: alpha." in said
    site.releaser("accept", "alpha", check=0)
    site.index.publish("alpha", "1.0.0", modules={"alpha/__init__.py": "EVIL = 'more'\n"})
    refused(site)


def test_a_package_from_another_of_the_indexes_is_refused(make_site: SiteFactory, tmp_path: Path) -> None:
    """As where somebody has found a name that is free on an index that is asked first."""
    site = make_site(venv=True)
    other = LocalIndex(tmp_path / "other")
    other.publish("nothing", "1.0.0")
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(serving(path)) for path in (other.path, site.index.path))
        indexes = f'index-url = "{second.url}"\nextra-index-url = ["{first.url}"]'
        old = 'no-index = true\nfind-links = ["../index"]'
        site.edit("pyproject.toml", edit_pyproject(site, old, indexes))
        site.push_commit("Take packages from two servers", lock=True)
        site.releaser("init", check=0)
        other.publish("alpha", "9.0.0")
        assert f"alpha 9.0.0 now comes from {first.url} (before: {second.url})" in refused(site)
        site.releaser("accept", "alpha", check=0)
        site.releaser("update", check=0)
        assert site.live_version("alpha") == "9.0.0"


def test_an_index_that_was_committed_with_its_lock_is_accepted(index_of: tuple[SampleSite, SimpleIndex]) -> None:
    served, _ = index_of
    with serving(served.index.path) as mirror:
        lines = (served.path / "pyproject.toml").read_text(encoding="utf-8").splitlines()
        text = "\n".join(f'index-url = "{mirror.url}"' if one.startswith("index-url") else one for one in lines)
        served.edit("pyproject.toml", text + "\n")
        served.push_commit("Take packages from a mirror", lock=True)
        served.index.publish("alpha", "1.1.0")
        served.releaser("update", check=0)
        assert served.live_version("alpha") == "1.1.0"


def test_a_file_in_a_directory_that_was_replaced_is_refused(make_site: SiteFactory) -> None:
    site, commands = make_site.adopted("1.1.0"), ("update", "rebuild")
    wheel = site.index.path / "alpha-1.1.0-py3-none-any.whl"
    kept = wheel.with_suffix(".kept")
    shutil.copy(wheel, kept)
    site.index.publish("alpha", "1.1.0", modules={"alpha/__init__.py": "__version__ = '1.1.0'\nEVIL = True\n"})
    seen = "alpha-1.1.0-py3-none-any.whl of alpha 1.1.0 is a different file now"
    before = site.snapshot()
    for command in commands:
        refusal, advice = site.json(command, "--dry-run")["would"]
        assert refusal.startswith(f"it would be refused: packages differ from those of the live release: {seen}")
        assert advice.startswith(f"Run `releaser {command}` first: a dry run records nothing")
    finished = site.releaser("accept", "alpha", check=2)
    assert "Run `releaser update` first: a dry run records nothing." in finished.stderr
    assert site.snapshot() == before
    told = set()
    for command in commands:
        assert seen in refused(site, command)
        told.add(tuple(one["since"] for one in site.json("status")["asked"]))
        assert site.json(command, "--dry-run")["would"][1].startswith(
            "Check the cause. To accept the change, run `releaser a"
        )
    assert len(told) == 1, "since it was seen first"
    kept.replace(wheel)
    for command in commands:
        site.releaser(command, check=0)
    assert "EVIL" not in site.python("import alpha; print(dir(alpha))")
    finished = site.releaser("accept", "alpha", check=2)
    assert "no update was refused because of alpha" in finished.stderr
    assert "No package waits to be accepted." in finished.stderr


def test_a_wheel_that_becomes_a_source_release_is_reported(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted()
    build_sdist(site.index.path, "beta", "1.1.0", mark=tmp_path / "mark")
    (problem,) = site.json("update")["problems"]
    assert problem.startswith("beta 1.1.0 is published as source only (1.0.0 had wheels), so its own code ran to build")
