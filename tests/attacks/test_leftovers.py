"""Files that a candidate's code leaves behind are neither trusted nor run until the candidate is live."""

import ast
import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from releaser.candidate.sandbox import sandbox_of
from releaser.checkout.leftovers import renew_tree
from releaser.checkout.staging import staging_tree
from releaser.core.run import new_log
from releaser.errors import ToolError
from releaser.sandbox.layers import make_skeletons
from releaser.site.site import Site, open_site
from tests.attacks.test_sandbox import Scene, publish_source, scene, secrets
from tests.support.commands import clean_environment, git_executable, run
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import write_files

__all__ = ["scene"]
PLAIN = pytest.mark.parametrize("scene", ["plain"], indirect=True)
LOG = "starts.txt"  # in the venv that is tried, which its code may write
LOCK = "version = 1\n"


def break_out(site: SampleSite, code: str) -> None:
    """Offer an alpha whose tests fail after `code` has run in them, and a beta that is good."""
    text = "__version__ = '1.1.0'\nBROKEN = 'test'\nimport os, sys\nfrom pathlib import Path\nif 'test' in sys.argv:\n"
    text += "".join(f"    {line}\n" for line in code.splitlines())
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": text})
    site.publish("beta", "1.1.0")


@pytest.mark.spread(1)
@PLAIN
@pytest.mark.parametrize("sandbox", ["bwrap", "off"])
def test_start_up_code_reaches_nothing_before_it_is_live(scene: Scene, sandbox: str) -> None:
    """A `.pth` runs in whatever starts the venv's Python: uv, Django's check, the tests."""
    note = "Path(sys.prefix, 'starts.txt').open('a').write(f'{sys.orig_argv[1:4]}| {reached(TARGETS)}\\n')\n"
    module = f"{scene.aim()}import sys\n{note}"
    modules = {"alpha/__init__.py": "BROKEN = 'test'\n", "alpha_start.pth": "import alpha_start\n"}
    scene.site.publish("alpha", "1.1.0", modules={**modules, "alpha_start.py": module})
    scene.site.publish("beta", "1.1.0")
    scene.releaser("update", sandbox=sandbox, check=None, more={"RELEASER_DJANGO_CHECK": "deploy"})
    failed = next(scene.site.state_dir.glob(f"releases/*/venv/{LOG}")).read_text(encoding="utf-8").splitlines()
    assert all(any(word in line for line in failed) for word in ("'check'", "'test'")), failed
    reached = [ast.literal_eval(line.partition("| ")[2]) for line in failed]
    assert (not any(secrets(one) for one in reached)) == (sandbox != "off"), failed
    assert (scene.harm() == []) == (sandbox != "off")


@PLAIN
def test_symlinks_that_tests_leave_lead_releaser_nowhere(scene: Scene) -> None:
    """It writes the lock, and what it installs from, once more after the tests, and puts back the venv's Python."""
    precious, other = scene.site.outer / "precious", scene.site.outer / "other" / "bin"
    precious.write_text("precious", encoding="utf-8")
    other.mkdir(parents=True)
    (other / "python").symlink_to("/nowhere/python3.9")
    scene.aim()
    break_out(
        scene.site,
        "for name in ('uv.lock', '.releaser-local.txt', 'pyproject.toml'):\n"
        f"    Path(name).unlink(missing_ok=True)\n    Path(name).symlink_to({str(precious)!r})\n"
        f"bin = Path(sys.prefix, 'bin')\nbin.rename(bin.with_name('gone'))\nbin.symlink_to({str(other)!r})\n",
    )
    scene.releaser("update", sandbox="bwrap")
    assert precious.read_text(encoding="utf-8") == "precious"
    assert [(one.name, os.readlink(one)) for one in other.iterdir()] == [("python", "/nowhere/python3.9")]
    assert scene.site.live_version("beta") == "1.1.0"


@PLAIN
def test_a_symlink_in_the_venv_leads_releaser_nowhere(scene: Scene) -> None:
    """A build puts one where releaser writes its start-up module then."""
    precious = scene.site.outer / "precious"
    precious.write_text("precious", encoding="utf-8")
    scene.aim()
    code = (
        "import os, sys\nfrom pathlib import Path\ndef reached(_):\n"
        "    venv = Path(os.environ['UV_PROJECT_ENVIRONMENT'])\n"
        "    place = next(venv.glob('lib/*/site-packages'))\n"
        "    names = '_releaser_pin.py', '_releaser_pin_rare.py', '00_releaser_pin.pth'\n"
        "    for path in (*[place / name for name in names], venv / 'releaser.lease'):\n"
        f"        path.symlink_to({str(precious)!r})\n    return ['links']\nTARGETS = ''\n"
    )
    publish_source(scene, code)
    scene.releaser("update", sandbox="bwrap")
    assert precious.read_text(encoding="utf-8") == "precious"
    assert scene.site.python("import alpha; print(alpha.REACHED)") == "links"


@PLAIN
def test_project_files_that_tests_changed_are_neither_built_nor_imported(scene: Scene) -> None:
    """Else uv would build what they ask for, and programs would import what they left, where nothing keeps it in."""
    scene.commit(
        "from pathlib import Path\ndef test_settings(packages):\n"
        "    assert Path('local_settings.py').read_text() == 'WELL = True'\n"
    )
    with (scene.site.path / ".git" / "info" / "exclude").open("a", encoding="utf-8") as file:
        file.write("/local_settings.py\n")
    (scene.site.path / "local_settings.py").write_text("WELL = True", encoding="utf-8")
    scene.aim()
    backend = f"open({str(scene.site.outer / 'escaped')!r}, 'w')\nfrom tinybuild import *\n"
    evil = (
        "[project]\nname = 'evil'\ndynamic = ['version']\n"
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    break_out(
        scene.site,
        "Path('local_settings.py').write_text('WELL = False')\nPath('evil').mkdir(exist_ok=True)\n"
        f"Path('evil/backend.py').write_text({backend!r})\nPath('evil/pyproject.toml').write_text({evil!r})\n"
        "text = Path('pyproject.toml').read_text().partition('[tool.uv.sources]')[0].replace(', \"evil\"', '')\n"
        'text = text.replace(\'"beta"\', \'"beta", "evil"\') + \'[tool.uv.sources]\\nevil = { path = "evil" }\\n\'\n'
        "Path('pyproject.toml').write_text(text)\n",
    )
    scene.releaser("update", sandbox="bwrap")
    assert not (scene.site.outer / "escaped").exists()
    assert scene.site.live_version("beta") == "1.1.0"


@pytest.mark.parametrize("command", ["update", "rebuild"])
def test_before_live_never_runs_in_files_that_tests_left(make_site: SiteFactory, command: str) -> None:
    """`before_live` gets the tokens of the site, and has no sandbox."""
    site = make_site.adopted(dotenv={"RELEASER_BEFORE_LIVE": "test ! -e left.py"})
    site.push_commit(
        "tests", {"site_tests.py": "from pathlib import Path\ndef test_it(_):\n    Path('left.py').touch()\n"}
    )
    site.publish("alpha", "1.1.0")
    assert site.json(command)["result"] == "updated"


@contextlib.contextmanager
def stage(place: Path, *, below: str = "", sandbox: str = "off") -> Iterator[Site]:
    """Stage a project, or one `below` a repository, with a venv, and all kinds of files that git does not track."""
    top, env = place / "site", clean_environment(place / "home", place / "cache")

    def git(place: Path, *words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
        run([git_executable(), *who, *words], cwd=place, env=env, check=0)

    project = {os.path.join(below, name): text for name, text in (("pyproject.toml", "[project]\n"), ("uv.lock", LOCK))}
    library, code = {"code.py": ""}, {"pkg/code.py": "", ".gitignore": "/data\n"}
    for directory, files in ((place / "library", library), (top, {**project, **code})):
        directory.mkdir()
        write_files(directory, files)
        git(directory, "init", "--quiet", "--template=")
        if directory == top:
            git(top, "submodule", "--quiet", "add", str(place / "library"), "vendored")
        git(directory, "add", ".")
        git(directory, "commit", "--quiet", "--message", "All")
    names = ("data/kept/a", "media/a", "local.py", "../shared.py", "pkg/__pycache__/code.pyc")
    write_files(top, dict.fromkeys((*names, "../venv/bin/python", "../other/__pycache__/live.pyc"), "good"))
    (top / "linked.py").symlink_to("../shared.py")
    given = {"RELEASER_STAGING_COPY": "data/kept", "RELEASER_STAGING_LINK": "media", "RELEASER_SANDBOX": sandbox}
    site, log = open_site(top / below, {**env, **given}), new_log("update")
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


EVIL = (
    "linked.py", "local.py", "media", "data/evil.py", "data/kept/evil.py", "build/lib/evil.py", "a.egg-info/a",
    "vendored/code.py", "vendored/evil.py", "vendored/.git/config",
)  # fmt: skip


@pytest.mark.parametrize("what", ["tests", "own builds"])
def test_no_trace_of_a_candidate_is_left(tmp_path: Path, what: Literal["tests", "own builds"]) -> None:
    with stage(tmp_path) as tree:
        top = tree.git.layout.top
        before, around = look(top), look(tmp_path / "other") | look(tmp_path / "site")
        with sandbox_of(tree, tmp_path / "venv", what=what):
            for name in ("linked.py", "local.py", "media"):
                (top / name).unlink(missing_ok=True)  # no link to the live directory is there without a sandbox
            write_files(top, dict.fromkeys(EVIL, "evil"))
            shutil.rmtree(top / "pkg")
            (top / "pkg").symlink_to(tmp_path / "other")
        tree.project.lock.write_text("version = 2\n", encoding="utf-8")  # which releaser does, for the next candidate
        renew_tree(tree)
        assert look(top) == {**before, "uv.lock": "version = 2\n"}
        assert look(tmp_path / "other") | look(tmp_path / "site") == around


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Let permissions apply to root as well, in this thread."""
    capabilities = ctypes.CDLL(None)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert capabilities.capget(header, sets) == 0
    effective, sets[0] = sets[0], sets[0] & ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    assert capabilities.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = effective
        assert capabilities.capset(header, sets) == 0


def test_a_mount_in_a_directory_of_another_user_does_not_stop_the_sandbox(tmp_path: Path) -> None:
    """As in a container whose root must obey permissions; each update ended there."""
    require(os.geteuid() == 0 and shutil.which("unshare"), "root, to mount")
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    (home / "disk").mkdir(parents=True)
    (home / "notes").touch()
    scratch.mkdir()
    os.chown(home, 1234, 1234)
    subprocess.run(["mount", "-t", "tmpfs", "releaser-test", home / "disk"], check=True)
    try:
        with without_rights():
            (made,) = make_skeletons(str(scratch), [str(home)], [])
        assert sorted(os.listdir(made.directory)) == ["disk", "notes"]
        assert os.stat(made.directory).st_uid == 1234
    finally:
        subprocess.run(["umount", home / "disk"], check=True)


def stay_out(top: Path, venv: Path) -> None:
    for place in (top, venv / "bin", venv):
        place.chmod(0)


def exchange(top: Path, _: Path) -> None:
    shutil.rmtree(top / "web")
    (top / "web").write_text("", encoding="utf-8")


def blow_up(top: Path, _: Path) -> None:
    for name in ("pyproject.toml", "uv.lock"):
        os.truncate(top / "web" / name, 1 << 40)


@pytest.mark.parametrize(("attack", "flaw"), [(stay_out, ""), (exchange, "web/"), (blow_up, "")])
def test_a_candidate_that_prevents_the_restore_fails(
    tmp_path: Path, attack: Callable[[Path, Path], None], flaw: str
) -> None:
    """Else it ends each night before anybody is blamed."""
    require(shutil.which("bwrap"), "bubblewrap")
    with stage(tmp_path, below="web", sandbox="bwrap") as tree, without_rights():
        top, venv = tree.git.layout.top, tmp_path / "venv"
        before = look(top)
        with pytest.raises(ToolError, match=flaw) if flaw else contextlib.nullcontext(), sandbox_of(tree, venv):
            attack(top, venv)
        assert (venv / "bin" / "python").read_text(encoding="utf-8") == "good"
        top.chmod(0)
        renew_tree(tree)
        assert look(top) == before
    assert not top.exists()
