"""The build backend of a source release that may not come in never runs, whoever asks what there is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.scenes import edit_pyproject, from_server
from tests.support.simple_index import SimpleIndex, serving
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import TELLING, build_sdist, write_sdist


class Scene:
    """A site that uses alpha, a wheel, and evil, a source release, from an index that knows their ages."""

    def __init__(self, site: SampleSite, index: SimpleIndex, mark: Path) -> None:
        self.site, self.index, self.mark = site, index, mark

    def offer(self, name: str, version: str, days: float | None, *, wheel_of: list[str] | None = None) -> None:
        """Publish a version that is so old: a source release, or a wheel that requires others."""
        if wheel_of is not None:
            self.site.publish(name, version, requires=wheel_of)
        else:
            build_sdist(self.site.index.path, name, version, mark=self.mark)
        if days is not None:
            self.index.uploaded[name, version] = datetime.now(UTC) - timedelta(days=days)

    def offer_built_with(self, name: str, version: str, backend: str, days: float | None) -> None:
        """Publish a source release so old that tells what it needs, and is built with another package."""
        project = f'[project]\nname = "{name}"\nversion = "{version}"\n'
        files = {
            "pyproject.toml": f'{project}[build-system]\nrequires = ["{backend}"]\nbuild-backend = "{backend}"\n',
            "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
        }
        write_sdist(self.site.index.path, name, version, files)
        if days is not None:
            self.index.uploaded[name, version] = datetime.now(UTC) - timedelta(days=days)

    def offer_backend(self, name: str, version: str, days: float | None, *, builds: tuple[str, str]) -> None:
        """Publish a build backend so old that tells of each time that it builds something."""
        told = f"{name} {version}"
        code = TELLING.format(mark=str(self.mark), name=builds[0], version=builds[1])
        code = code.replace(" ".join(builds) + "\\n", f"{told}\\n")
        self.site.publish(name, version, modules={f"{name}.py": code})
        if days is not None:
            self.index.uploaded[name, version] = datetime.now(UTC) - timedelta(days=days)

    def ask(self, *, check: int | None = 0, **env: str) -> str:
        """Let each command that resolves do so, and return what ran of what may not."""
        for words in (["outdated"], ["update", "--dry-run"], ["update"], ["outdated"]):
            self.site.releaser(*words, check=check, env=env)
        lines = self.mark.read_text(encoding="utf-8").splitlines()
        return ", ".join(sorted({line for line in lines if not line.endswith(" 1.0")}))


@pytest.fixture
def scene(make_site: SiteFactory, tmp_path: Path) -> Iterator[Scene]:
    site = make_site(venv=True, packages={"alpha": "1.0"}, dependencies=["alpha"])
    with serving(site.index.path) as index:
        scene = Scene(site, index, tmp_path / "mark")
        scene.offer("evil", "1.0", 100)
        index.uploaded["alpha", "1.0"] = datetime.now(UTC) - timedelta(days=100)
        from_server(site, index.url)
        site.edit("pyproject.toml", edit_pyproject(site, '"alpha"', '"alpha", "evil"'))
        site.push_commit("Take packages from a server", lock=True)
        site.uv("sync", "--quiet", "--group", "local")
        site.releaser("init", check=0)
        yield scene


@pytest.mark.parametrize("name", ["evil", "alpha"])
def test_what_is_five_minutes_old_is_not_built(scene: Scene, name: str) -> None:
    """Be it of a package that comes as source always, or for the first time."""
    scene.offer(name, "2.0", 5 / 1440)
    assert scene.ask() == ""


def test_what_a_young_version_brings_along_is_not_built(scene: Scene) -> None:
    scene.offer("alpha", "2.0", 5 / 1440, wheel_of=["fresh"])
    scene.offer("fresh", "2.0", 5 / 1440)
    assert scene.ask() == ""


def test_what_the_project_asks_for_is_not_built_before_it_is_old_enough(scene: Scene) -> None:
    scene.offer("evil", "2.0", 5 / 1440)
    scene.site.push_commit("Ask for more", {"pyproject.toml": edit_pyproject(scene.site, '"evil"', '"evil>=2"')})
    assert (
        "younger than `min_age` permits: evil 2.0: it is 5 minutes old" in scene.site.releaser("update", check=4).stderr
    )
    assert "evil 2.0" not in scene.mark.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["evil", "alpha"])
def test_what_somebody_holds_is_not_built(scene: Scene, name: str) -> None:
    scene.site.releaser("hold", name, check=0)
    scene.offer(name, "2.0", 90)
    assert scene.ask() == ""
    (told,) = [one for one in scene.site.json("update")["on_hold"] if one["version"]] or [{"by": "person"}]
    assert told["by"] == "person"


@pytest.mark.parametrize("name", ["evil", "alpha"])
def test_what_goes_too_far_is_not_built_and_what_goes_so_far_comes_in(scene: Scene, name: str) -> None:
    scene.offer(name, "1.1", 90)
    scene.offer(name, "2.0", 90)
    assert scene.ask(RELEASER_UPGRADE="minor") == f"{name} 1.1"
    assert scene.site.live_version(name) == "1.1"


@pytest.mark.parametrize("rule", ["UPGRADE", "IGNORE"])
def test_the_project_itself_may_ask_for_what_goes_too_far(scene: Scene, rule: str) -> None:
    scene.offer("alpha", "2.0", 90)
    scene.site.push_commit("Ask for more", {"pyproject.toml": edit_pyproject(scene.site, '"alpha"', '"alpha>=2"')})
    values = {"UPGRADE": "minor", "IGNORE": "alpha"}
    scene.site.releaser("update", check=0, env={f"RELEASER_{rule}": values[rule]})
    assert scene.site.live_version("alpha") == "2.0"


def test_what_may_come_in_does(scene: Scene) -> None:
    scene.offer("evil", "2.0", 90)
    assert scene.ask() == "evil 2.0"
    assert scene.site.live_version("evil") == "2.0"


def test_what_fails_in_the_sandbox_is_not_built_without_it(scene: Scene) -> None:
    """It can tell that it is in one, and fails there, whichever command builds it."""
    refuses = "if b'bwrap' in open('/proc/1/cmdline', 'rb').read():\n    raise SystemExit('not in a sandbox')\n"
    build_sdist(scene.site.index.path, "evil", "2.0", mark=scene.mark, first=refuses)
    scene.index.uploaded["evil", "2.0"] = datetime.now(UTC) - timedelta(days=90)
    assert scene.ask(check=None, RELEASER_SANDBOX="auto") == ""
    assert scene.site.live_version("evil") == "1.0"


@pytest.mark.parametrize("index", ["tells all times", "tells none of backends"])
def test_what_is_five_minutes_old_builds_nothing(scene: Scene, index: str) -> None:
    """A source release that is old enough is built with what was as old, as far as an index tells."""
    tells = index == "tells all times"
    scene.offer_backend("helper", "1.0", 100 if tells else None, builds=("evil", "2.0"))
    scene.offer_backend("helper", "6.6", 5 / 1440 if tells else None, builds=("evil", "2.0"))
    scene.offer_built_with("evil", "2.0", "helper", 90)
    assert scene.ask() == ("" if tells else "helper 6.6")
    assert scene.site.live_version("evil") == "2.0"
    assert ("helper 1.0" in scene.mark.read_text(encoding="utf-8")) == tells
