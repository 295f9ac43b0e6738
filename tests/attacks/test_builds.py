"""The build backend of a refused source release never runs, whichever command looks for versions."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.scenes import edit_pyproject, from_server
from tests.support.simple_index import SimpleIndex, serving
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import TELLING, build_sdist, write_sdist

FIVE_MINUTES = 5 / 1440


class Scene:
    """A site that uses wheels and source releases (`-source`) from an index that knows the ages of most of them."""

    def __init__(self, site: SampleSite, index: SimpleIndex, mark: Path) -> None:
        self.site, self.index, self.mark = site, index, mark

    def is_old(self, name: str, version: str, days: float | None) -> None:
        if days is not None:
            self.index.uploaded[name, version] = datetime.now(UTC) - timedelta(days=days)

    def offer(self, name: str, version: str, days: float, *, first: str = "") -> None:
        """Publish a source release."""
        build_sdist(self.site.index.path, name, version, mark=self.mark, first=first)
        self.is_old(name, version, days)

    def offer_wheel(self, name: str, version: str, days: float, *requires: str) -> None:
        self.site.publish(name, version, requires=requires)
        self.is_old(name, version, days)

    def offer_built_with(self, backend: str, name: str, version: str, days: float) -> None:
        """Publish a source release that tells what it needs, and is built with another package."""
        project = f'[project]\nname = "{name}"\nversion = "{version}"\n'
        files = {
            "pyproject.toml": f'{project}[build-system]\nrequires = ["{backend}"]\nbuild-backend = "{backend}"\n',
            "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
        }
        write_sdist(self.site.index.path, name, version, files)
        self.is_old(name, version, days)

    def offer_backend(self, backend: str, version: str, days: float | None, *, builds: str) -> None:
        """Publish a build backend that tells of each time that it builds version 2.0 of a package."""
        code = TELLING.format(mark=str(self.mark), name=builds, version="2.0")
        code = code.replace(f"{builds} 2.0\\n", f"{backend} {version}\\n")
        self.site.publish(backend, version, modules={f"{backend}.py": code})
        self.is_old(backend, version, days)

    def ask(self, *, check: int | None = 0) -> set[str]:
        """Let each command that resolves do so, and return what was built beside what was there at first."""
        for words in (["outdated"], ["update", "--dry-run"], ["update"], ["outdated"]):
            self.site.releaser(*words, check=check)
        return {line for line in self.mark.read_text(encoding="utf-8").splitlines() if not line.endswith(" 1.0")}

    def require(self, name: str) -> None:
        text = edit_pyproject(self.site, f"'{name}'", f"'{name}>=2'")
        self.site.push_commit("Ask for more", {"pyproject.toml": text})


@pytest.fixture
def scene(make_site: SiteFactory, tmp_path: Path, names: Sequence[str]) -> Iterator[Scene]:
    site = make_site(venv=True, packages={}, dependencies=[])
    with serving(site.index.path) as index:
        scene = Scene(site, index, tmp_path / "mark")
        for name in names:
            offer = scene.offer if "source" in name else scene.offer_wheel
            offer(name, "1.0", 100)
        from_server(site, index.url)
        site.edit("pyproject.toml", edit_pyproject(site, "dependencies = []", f"dependencies = {[*names]}"))
        site.push_commit("Take packages from a server", lock=True)
        site.uv("sync", "--quiet", "--group", "local")
        site.releaser("init", check=0)
        yield scene


KINDS = ("young", "held", "far", "ignored")
ALL = (*KINDS, *(f"{kind}source" for kind in KINDS), "bringer", "goodsource", "builtsource", "untoldsource")


@pytest.mark.parametrize("names", [ALL])
def test_a_refused_package_is_not_built_and_a_permitted_one_is(scene: Scene) -> None:
    """Be it of a package that comes as source always, or for the first time; what builds it may not be young either."""
    site = scene.site
    site.env |= {"RELEASER_UPGRADE_PACKAGES": "far*=minor", "RELEASER_IGNORE": "ignored*"}
    for name in ("held", "heldsource"):
        site.releaser("hold", name, check=0)
    for kind in KINDS:
        for name in (kind, f"{kind}source"):
            scene.offer(name, "2.0", FIVE_MINUTES if kind == "young" else 90)
    scene.offer("far", "1.1", 90)
    scene.offer("farsource", "1.1", 90)
    scene.offer_wheel("bringer", "2.0", FIVE_MINUTES, "fresh")
    scene.offer("fresh", "2.0", FIVE_MINUTES)
    scene.offer("goodsource", "2.0", 90)
    # A source release that is old enough is built with what was as old, as far as an index tells.
    for name, backend, days in (("builtsource", "helper", 100), ("untoldsource", "aide", None)):
        scene.offer_backend(backend, "1.0", days, builds=name)
        scene.offer_backend(backend, "6.6", days and FIVE_MINUTES, builds=name)
        scene.offer_built_with(backend, name, "2.0", 90)
    built = {"far 1.1", "farsource 1.1", "goodsource 2.0"}
    assert scene.ask() == {*built, "aide 6.6"}
    assert "helper 1.0" in scene.mark.read_text(encoding="utf-8")
    code = f"import importlib.metadata as m; print({{name: m.version(name) for name in {ALL}}})"
    goes = {"far": "1.1", "farsource": "1.1"} | dict.fromkeys(("goodsource", "builtsource", "untoldsource"), "2.0")
    assert site.python(code) == str(dict.fromkeys(ALL, "1.0") | goes)
    by = {one["by"] for one in site.json("update")["on_hold"] if one["name"].startswith("held")}
    assert by == {"person"}

    # The project itself may ask for what goes too far, and not for what is too young.
    for name in ("far", "ignored"):
        scene.require(name)
        site.releaser("update", check=0)
        assert site.live_version(name) == "2.0"
    scene.require("youngsource")
    said = site.releaser("update", check=4).stderr
    assert "younger than `min_age` permits: youngsource 2.0: it is " in said
    assert scene.ask(check=None) == {*built, "aide 6.6", "far 2.0", "ignored 2.0"}


@pytest.mark.parametrize("names", [["evilsource"]])
def test_a_build_that_fails_in_the_sandbox_is_not_repeated_without_it(scene: Scene) -> None:
    """It can tell that it is in one, and fails there, whichever command builds it."""
    refuses = "if b'bwrap' in open('/proc/1/cmdline', 'rb').read():\n    raise SystemExit('not in a sandbox')\n"
    scene.offer("evilsource", "2.0", 90, first=refuses)
    scene.site.env["RELEASER_SANDBOX"] = "auto"
    assert scene.ask(check=None) == set()
    assert scene.site.live_version("evilsource") == "1.0"
