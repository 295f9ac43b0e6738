"""What a candidate's code leaves behind is neither believed nor run afterwards, while the candidate is only tried."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from releaser.candidate.isolated import sandbox_of
from releaser.checkout.leftovers import renew_tree
from releaser.checkout.staging import staging_tree
from releaser.run import silent_log
from releaser.site.site import Site, open_site
from tests.attacks.test_isolation import Scene, publish_source, scene
from tests.support.commands import clean_environment, git_executable, run
from tests.support.templates import write_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sites import SampleSite

__all__ = ["scene"]
ISOLATED = pytest.mark.parametrize("isolate", ["bwrap", "landlock"])
PLAIN = pytest.mark.parametrize("scene", ["plain"], indirect=True)
LOG = "starts.txt"  # in the venv that is tried, which its code may write


def break_out(site: SampleSite, code: str) -> None:
    """Offer an alpha whose tests fail after `code` has run in them, and a beta that is good."""
    text = "__version__ = '1.1.0'\nBROKEN = 'test'\nimport os, sys\nfrom pathlib import Path\nif 'test' in sys.argv:\n"
    text += "".join(f"    {line}\n" for line in code.splitlines())
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": text})
    site.publish("beta", "1.1.0")


@PLAIN
@pytest.mark.parametrize("isolate", ["bwrap", "landlock", "off"])
def test_what_runs_at_the_start_of_python_reaches_nothing_before_it_is_live(scene: Scene, isolate: str) -> None:
    """A `.pth` runs in whatever starts the venv's Python: uv, Django's check, the tests."""
    note = "Path(sys.prefix, 'starts.txt').open('a').write(f'{sys.orig_argv[1:4]}| {reached(TARGETS)}\\n')\n"
    module = f"{scene.aim()}import sys\n{note}"
    modules = {"alpha/__init__.py": "BROKEN = 'test'\n", "alpha_start.pth": "import alpha_start\n"}
    scene.site.publish("alpha", "1.1.0", modules={**modules, "alpha_start.py": module})
    scene.site.publish("beta", "1.1.0")
    scene.releaser("update", isolate=isolate, check=None, more={"RELEASER_DJANGO_CHECK": "deploy"})
    failed = next(scene.site.state_dir.glob(f"releases/*/venv/{LOG}")).read_text(encoding="utf-8").splitlines()
    assert all(any(word in line for line in failed) for word in ("'check'", "'test'")), failed
    assert ({line.partition("| ")[2] for line in failed} == {"[]"}) == (isolate != "off"), failed
    assert (scene.harm() == []) == (isolate != "off")


@PLAIN
@ISOLATED
def test_a_symlink_in_the_staging_tree_leads_releaser_nowhere(scene: Scene, isolate: str) -> None:
    """releaser and uv write the lock there, and what they install from, once more after the tests."""
    precious = scene.site.outer / "precious"
    precious.write_text("precious", encoding="utf-8")
    scene.aim()
    break_out(
        scene.site,
        "for name in ('uv.lock', '.releaser-local.txt', 'pyproject.toml'):\n"
        f"    Path(name).unlink(missing_ok=True)\n    Path(name).symlink_to({str(precious)!r})\n",
    )
    scene.releaser("update", isolate=isolate)
    assert precious.read_text(encoding="utf-8") == "precious"
    assert scene.site.live_version("beta") == "1.1.0"


@PLAIN
@ISOLATED
def test_a_symlink_in_the_venv_leads_releaser_nowhere(scene: Scene, isolate: str) -> None:
    """A build puts one where releaser writes its start-up module then."""
    precious = scene.site.outer / "precious"
    precious.write_text("precious", encoding="utf-8")
    scene.aim()
    code = (
        "import os, sys\nfrom pathlib import Path\ndef reached(_):\n"
        "    venv = Path(os.environ['UV_PROJECT_ENVIRONMENT'])\n"
        "    place = next(venv.glob('lib/*/site-packages'))\n"
        "    for path in (place / '_releaser_pin.py', place / '00_releaser_pin.pth', venv / 'releaser.lease'):\n"
        f"        path.symlink_to({str(precious)!r})\n    return ['links']\nTARGETS = ''\n"
    )
    publish_source(scene, code)
    scene.releaser("update", isolate=isolate)
    assert precious.read_text(encoding="utf-8") == "precious"
    assert scene.site.python("import alpha; print(alpha.REACHED)") == "links"


@PLAIN
@ISOLATED
def test_the_project_that_tests_have_changed_is_not_resolved_or_built(scene: Scene, isolate: str) -> None:
    """Else uv would build what they ask for, where nothing keeps it in, as it does for a lock."""
    scene.aim()
    backend = f"open({str(scene.site.outer / 'escaped')!r}, 'w')\nfrom tinybuild import *\n"
    evil = (
        "[project]\nname = 'evil'\ndynamic = ['version']\n"
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    break_out(
        scene.site,
        "Path('evil').mkdir(exist_ok=True)\n"
        f"Path('evil/backend.py').write_text({backend!r})\nPath('evil/pyproject.toml').write_text({evil!r})\n"
        "text = Path('pyproject.toml').read_text().partition('[tool.uv.sources]')[0].replace(', \"evil\"', '')\n"
        'text = text.replace(\'"beta"\', \'"beta", "evil"\') + \'[tool.uv.sources]\\nevil = { path = "evil" }\\n\'\n'
        "Path('pyproject.toml').write_text(text)\n",
    )
    scene.releaser("update", isolate=isolate)
    assert not (scene.site.outer / "escaped").exists()
    assert scene.site.live_version("beta") == "1.1.0"


@PLAIN
@ISOLATED
def test_a_directory_exchanged_for_a_symlink_leads_nothing_elsewhere_that_is_put_back(
    scene: Scene, isolate: str
) -> None:
    """Else the Python of another venv would be replaced."""
    other = scene.site.outer / "other" / "bin"
    other.mkdir(parents=True)
    (other / "python").symlink_to("/nowhere/python3.9")
    scene.aim()
    break_out(
        scene.site,
        f"bin = Path(sys.prefix, 'bin')\nbin.rename(bin.with_name('gone'))\nbin.symlink_to({str(other)!r})\n",
    )
    scene.releaser("update", isolate=isolate)
    assert [(one.name, os.readlink(one)) for one in other.iterdir()] == [("python", "/nowhere/python3.9")]
    assert scene.site.live_version("beta") == "1.1.0"


@PLAIN
@ISOLATED
def test_what_git_does_not_track_is_brought_anew_after_tests_that_have_changed_it(scene: Scene, isolate: str) -> None:
    """Else programs that nothing isolates would import it while a part of the upgrades goes live."""
    scene.commit(
        "from pathlib import Path\ndef test_settings(packages):\n"
        "    assert Path('local_settings.py').read_text() == 'WELL = True'\n"
    )
    with (scene.site.path / ".git" / "info" / "exclude").open("a", encoding="utf-8") as file:
        file.write("/local_settings.py\n")
    (scene.site.path / "local_settings.py").write_text("WELL = True", encoding="utf-8")
    scene.aim()
    break_out(scene.site, "Path('local_settings.py').write_text('WELL = False')\n")
    scene.releaser("update", isolate=isolate)
    assert scene.site.live_version("beta") == "1.1.0"


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Site]:
    """Stage a project with a submodule, packages in a venv, and all kinds of files that git does not track."""
    top, env = tmp_path / "site", clean_environment(tmp_path / "home", tmp_path / "cache")

    def git(place: Path, *words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
        run([git_executable(), *who, *words], cwd=place, env=env, check=0)

    for place, files in (
        (tmp_path / "library", {"code.py": ""}),
        (
            top,
            {"pyproject.toml": "[project]\n", "uv.lock": "version = 1\n", "pkg/code.py": "", ".gitignore": "/data\n"},
        ),
    ):
        place.mkdir()
        write_files(place, files)
        git(place, "init", "--quiet", "--template=")
        if place == top:
            git(place, "submodule", "--quiet", "add", str(tmp_path / "library"), "vendored")
        git(place, "add", ".")
        git(place, "commit", "--quiet", "--message", "All")
    places = ("data/kept/a", "media/a", "local.py", "../shared.py", "pkg/__pycache__/code.pyc")
    write_files(top, dict.fromkeys((*places, "../venv/bin/python", "../other/__pycache__/live.pyc"), "good"))
    (top / "linked.py").symlink_to("../shared.py")
    given = {"RELEASER_STAGING_COPY": "data/kept", "RELEASER_STAGING_LINK": "media", "RELEASER_ISOLATE": "off"}
    site, log = open_site(top, {**env, **given}), silent_log("update")
    with staging_tree(site, log, site.git.commit("HEAD")) as staged:
        yield staged


def look(place: Path) -> dict[str, str]:
    """Return what is below a directory, but what git notes of its own."""
    found = {}
    for path in place.rglob("*"):
        if ".git" not in path.parts or path.name == "config":
            text = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""
            found[str(path.relative_to(place))] = text
    return found


@pytest.mark.parametrize("what", ["tests", "own builds"])
def test_nothing_is_left_of_what_a_candidate_has_done_in_the_staging_tree(
    tree: Site, tmp_path: Path, what: Literal["tests", "own builds"]
) -> None:
    top = tree.git.layout.top
    before, around = look(top), look(tmp_path / "other") | look(tmp_path / "site")
    with sandbox_of(tree, tmp_path / "venv", what=what):
        for name in ("linked.py", "local.py", "media"):
            (top / name).unlink()
        evil = (
            "linked.py",
            "local.py",
            "media",
            "data/evil.py",
            "data/kept/evil.py",
            "build/lib/evil.py",
            "a.egg-info/a",
        )
        write_files(top, dict.fromkeys((*evil, "vendored/code.py", "vendored/evil.py", "vendored/.git/config"), "evil"))
        shutil.rmtree(top / "pkg")
        (top / "pkg").symlink_to(tmp_path / "other")
        (top / "data").chmod(0o555)
        (top / "build" / "lib").chmod(0)
    tree.project.lock.write_text("version = 2\n", encoding="utf-8")  # which releaser does, for the next candidate
    renew_tree(tree)
    assert look(top) == {**before, "uv.lock": "version = 2\n"}
    assert look(tmp_path / "other") | look(tmp_path / "site") == around
