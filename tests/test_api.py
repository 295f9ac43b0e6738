"""`releaser.api`: what programs in Python get of releaser."""

import sys
from pathlib import Path

import pytest

from releaser import api, launch
from releaser.errors import RequirementError, UsageError
from releaser.releases.store import ReleaseStore
from tests.releases.makers import a_manifest, live
from tests.support.commands import run
from tests.test_quick import SLOW


class Started(Exception):  # noqa: N818 - it is no error
    """Raised in place of becoming another program."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project with two releases; this program runs in the first of them, the other one is live."""
    root = tmp_path.resolve() / "site"
    root.mkdir()
    (root / "pyproject.toml").write_text("[project]\nname = 'site'\n", encoding="utf-8")
    store = ReleaseStore(state_dir=root.parent / ".releaser" / "site", link=root / ".venv")
    for number in (1, 2):
        live(store, number)
        package = store.path(a_manifest(number).id) / "venv/lib/python3.12/site-packages/alpha-1.0.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text(f"Name: alpha\nVersion: 1.{number}\n", encoding="utf-8")
    monkeypatch.setattr(sys, "prefix", str(store.path(a_manifest(1).id) / "venv"))
    monkeypatch.setattr(sys, "orig_argv", ["python", f"{sys.prefix}/bin/tool", "--go"])
    monkeypatch.setattr(api, "_RESTARTED", "TEST_RESTARTED")
    monkeypatch.delenv("TEST_RESTARTED", raising=False)
    monkeypatch.setattr(launch, "look", lambda *_, **__: "the network is away")
    return root


def becoming(place: launch.Place, release: str, words: list[str]) -> None:
    raise Started(place.root, release, words)


@pytest.mark.spawns
def test_importing_it_is_light(tmp_path: Path) -> None:
    code = "import sys; before = set(sys.modules); import releaser.api; print(*set(sys.modules) - before)"
    words = [sys.executable, "-c", code]
    imported = set(run(words, cwd=tmp_path, env={"PATH": "/usr/bin"}, check=0).stdout.split())
    assert "releaser.api" in imported
    assert imported & {*SLOW, "dataclasses", "json", "msgspec", "pathlib", "typing"} == set()


def test_what_is_there_is_told(site: Path) -> None:
    assert api.require("alpha>=1", project=site) == "1.1"


def test_what_is_live_meanwhile_is_started_once(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "become", becoming)
    with pytest.raises(RequirementError, match=r"alpha>=1\.2 is required, but .* has 1\.1"):
        api.require("alpha>=1.2", project=site)  # without `refresh`, nothing is restarted
    with pytest.raises(Started) as started:
        api.require("alpha>=1.2", "daily", project=site)
    root, release, words = started.value.args
    assert (root, words) == (str(site), [f"{release}/venv/bin/python", f"{release}/venv/bin/tool", "--go"])
    assert release.endswith(a_manifest(2).id)
    with pytest.raises(RequirementError):  # whatever that has led to, it does not go round
        api.require("alpha>=1.2", "daily", project=site)


@pytest.mark.parametrize("name", ["alpha>=9", "omega"])
def test_what_is_nowhere_is_refused_with_what_to_do(site: Path, name: str) -> None:
    with pytest.raises(RequirementError, match="the network is away") as refused:
        api.require(name, "daily", wait="1s", project=site)
    assert "`releaser update`" in refused.value.advice


@pytest.mark.parametrize("words", [("alpha >=",), ("alpha", "often")])
def test_a_wrong_call_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="require"):
        api.require(*words)


@pytest.mark.parametrize("by", ["release", "place"])
def test_a_release_that_was_adopted_by_its_symlink_is_known(
    site: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv, outside = Path(sys.prefix), site.parent / "outside"
    venv.rename(outside)
    venv.symlink_to(outside)
    if by == "place":
        monkeypatch.setattr(sys, "prefix", str(outside))
        monkeypatch.setattr(sys, "orig_argv", ["python", f"{outside}/bin/tool"])
    assert api.require("alpha>=1", project=site) == "1.1"
    monkeypatch.setattr(launch, "become", becoming)
    with pytest.raises(Started) as started:
        api.require("alpha>=1.2", "daily", project=site)
    release, words = started.value.args[1:]
    assert words[1] == f"{release}/venv/bin/tool"


def test_a_program_outside_of_the_releases_is_about_the_live_one(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/usr")
    assert api.require("alpha>=1.2", project=site) == "1.2"
