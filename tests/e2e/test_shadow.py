"""The shadow: tests and builds see the candidate on the site's own paths where the kernel allows it, and nothing live.

`auto` stands for a shadow that is mounted, `off` for one at a path of its own; `user_site` belongs to an ordinary user.
"""

import contextlib
import json
import os
import socket
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import BROKEN_CODE, CODE, during_tests, eventually, mostly_slow, refused, says, silent
from tests.support import trees, wheels
from tests.support.commands import require
from tests.support.sample import SHOP, SITE_TESTS
from tests.support.servers import WAITING_TESTS
from tests.support.sites import SampleSite, SiteFactory, SiteOptions

by_mode = pytest.mark.parametrize("mode", mostly_slow(["auto", "off"], "auto"))
by_owner = pytest.mark.parametrize("owner", mostly_slow(["site", "user_site"], "user_site"))
LOG = ".venv/../tests.log"  # of the live release


@pytest.fixture
def owned(request: pytest.FixtureRequest, owner: str) -> Any:
    """A live site of its owner."""
    return request.getfixturevalue(owner)


def with_shadow(site: SampleSite, mode: str, **settings: Any) -> SampleSite:
    """Set the mode of the shadow; skip the test if the kernel does not let the site's user mount anything."""
    site.write_dotenv(shadow=mode, **settings)
    if mode != "off":
        user = () if os.geteuid() == 0 and site.user is None else ("--user", "--map-root-user")
        mount = site.run("unshare", *user, "--mount", "mount", "--rbind", site.base, site.outer, check=None)
        require(mount.returncode == 0, "the kernel does not let this user mount anything")
    return site


def give(site: SampleSite, files: Mapping[str, str]) -> None:
    """Write files below the outer directory that are not in git."""
    for name, text in files.items():
        path = site.outer / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
    if site.user:
        site.user.own(site.outer)


def read(site: SampleSite, name: str) -> str:
    """Return the text of a file in the checkout; `absent` if it does not exist."""
    path = site.path / name
    return path.read_text(encoding="utf-8") if path.exists() else "absent"


#: Tests that say what they see around the checkout, then write where the site writes, and delete there.
BUSY_TESTS = """\
import os, pathlib, shutil, socket, sqlite3, subprocess, unittest
def see(path):
    try:
        file = next(path.iterdir()) if path.is_dir() else path
        os.utime(file)
        return f"writable, {file.stat().st_size} bytes"
    except OSError as error:
        return error.strerror
class Busy(unittest.TestCase):
    def test_busy(self):
        place = pathlib.Path(PLACE)
        outer = place / ".."
        for name in NAMES:
            print("see", name, see(outer / name), sep=": ")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("../app.sock")
        self.assertEqual((outer / "logs/site.log").read_text(), "live\\n")
        (outer / "logs/site.log").write_text("from a test")
        (outer / "uploads/new.jpg").write_text("new")
        with sqlite3.connect(outer / "data/shop.sqlite3") as database:
            database.execute("PRAGMA journal_mode = WAL")
            self.assertEqual(database.execute("DELETE FROM orders").rowcount, 1)
        for name in ("shop.py", "notes.txt", "added.py"):
            (place / name).write_text("from a test")
        subprocess.run("git commit --quiet --all --message=x && git tag x", cwd=place, shell=True, check=True)
        for name in ("logs", "uploads", "data", ".env", "site/cache.ignored", "site/shop.py"):
            shutil.rmtree(outer / name) if (outer / name).is_dir() else (outer / name).unlink()
"""
SMALL = ("logs/site.log", "uploads/2025/a.jpg", "site/notes.txt", "site/cache.ignored")
LARGE = {"media": 2001, "video.bin": 0, "site/photos": 2001}  # number of files, or one file of 101 MiB
COPIED = {"copied": 2001, "site.log.1": 0}  # by `shadow_copy`; a log, as an empty file


@pytest.mark.slow
@by_owner
@pytest.mark.parametrize("case", mostly_slow(["auto absolute", "auto relative", "off relative"], "auto absolute"))
def test_law_18_tests_change_nothing_live_and_large_entries_are_named(owned: SampleSite, case: str) -> None:
    mode, place = case.split()
    site = with_shadow(owned, mode, shadow_copy="copied")
    give(site, {f"{name}/{file}": "" for name, files in (LARGE | COPIED).items() for file in range(files)})
    give(site, {"video.bin": "", "site.log.1": "", "data/a": "", **dict.fromkeys(SMALL, "live\n")})
    for name in ("video.bin", "site.log.1"):
        os.truncate(site.outer / name, 101 << 20)
    with contextlib.closing(sqlite3.connect(site.outer / "data" / "shop.sqlite3")) as database, database:
        database.execute("CREATE TABLE orders AS SELECT 1")
    give(site, {"data/shop.txt": "live\n"})  # and its user gets the database, too
    (site.outer / "closed").mkdir(mode=0)  # of root, if root runs the tests
    state = [f".releaser/site/{name}" for name in ("lock", f"releases/{site.live()}/state.json")]
    text = BUSY_TESTS.replace("PLACE", repr(str(site.path) if place == "absolute" else "."))
    commit = site.push_from_elsewhere({"site_tests.py": text.replace("NAMES", repr([*LARGE, *COPIED, *state]))})

    def everything() -> dict[str, str]:
        files = trees.tree(site.outer, skip=(".releaser", "site", "media", "copied", "app.sock"))
        return files | trees.tree(site.path, skip=(".git", ".venv", "site_tests.py", "photos"))

    earlier = everything()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(site.outer / "app.sock"))
        (site.outer / "app.sock").chmod(0o777)
        server.listen()
        checked = site.releaser("check", check=0)
        steps = str(site.json("update")["steps"])
    assert (everything(), site.head(), site.git("tag")) == (earlier, commit, "")
    seen = dict(line.split(": ")[1:] for line in read(site, LOG).splitlines() if line.startswith("see: "))
    large = "Read-only file system" if mode == "auto" else "No such file or directory"
    assert seen == dict.fromkeys([*LARGE, *state], large) | dict.fromkeys(COPIED, "writable, 0 bytes")
    words = ("at the site's own paths", "read-only") if mode == "auto" else ("at a path of their own", "do not see")
    says(checked, *words, *(site.outer / name for name in LARGE))
    assert not any(str(site.outer / name) in checked.stderr for name in (*COPIED, "app.sock", "uploads"))
    assert mode == "auto" or all(Path(name).name in steps for name in LARGE), steps


REACHING_TESTS = """
import pathlib, socket, unittest
class Reaching(unittest.TestCase):
    def test_links_and_sockets(self):
        pathlib.Path("media/x").write_text("from a test")
        pathlib.Path("tracked/y").write_text("from a test")
        self.assertEqual(pathlib.Path("../relative/x").read_text(), "live")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("../run/app.sock")
"""


@by_mode
def test_law_18_links_lead_to_the_shadow_and_sockets_to_the_site(make_site: SiteFactory, mode: str) -> None:
    site = with_shadow(make_site.live(), mode)
    give(site, {"uploads/x": "live", "uploads/y": "live", "run/a": "", "../shared/x": "live"})
    (site.outer / "relative").symlink_to("../shared")
    for directory, name in ((site.path, "media"), (site.elsewhere(), "tracked")):
        (directory / name).symlink_to(site.outer / "uploads")
    site.push_from_elsewhere({"site_tests.py": REACHING_TESTS, ".gitignore": "media\n"})
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(site.outer / "run" / "app.sock"))
        server.listen()
        site.releaser("update", check=0)
    assert read(site, "../uploads/x") + read(site, "../uploads/y") == "livelive"


@pytest.mark.slow
def test_law_18_28_tests_that_write_to_a_large_entry_get_the_setting_for_it(site: SampleSite) -> None:
    site = with_shadow(site, "auto")
    give(site, {f"media/{number}": "" for number in range(2001)})
    site.push_from_elsewhere({"site_tests.py": f"open('../media/x', 'w').close()\n{SITE_TESTS}"})
    says(site.releaser("update", check=5), "read-only: media.", "`shadow_copy`")
    site.write_dotenv(shadow_copy="media")
    site.releaser("update", "--force", check=0)
    assert not (site.outer / "media" / "x").exists()


PARENT = "import os, sys\nsys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))\n"
CHILD = """
import subprocess, sys, types
words = [sys.executable, "-c", "import shop; print(shop.EDITION, shop.BROKEN)"]
edition, broken = subprocess.check_output(words, cwd=LIVE, text=True).split()
shop = types.SimpleNamespace(EDITION=edition, BROKEN=broken == "True")
"""
WAYS = {
    "relative": "import shop\n",
    "name": f"{PARENT}from shop_site import shop\n",
    "path": "import sys\nsys.path.insert(0, LIVE)\nsys.modules.pop('shop', None)\nimport shop\n",
    "file": "import runpy, types\nshop = types.SimpleNamespace(**runpy.run_path(LIVE + '/shop.py'))\n",
    "child": CHILD,
    "_exit": "import os\nos._exit(0)\n",
    "exec": "import os\nos.execv('/bin/true', ['true'])\n",
}
IMPORTING_TESTS = """
import unittest
class Importing(unittest.TestCase):
    def test_shop(self):
        print("edition", shop.EDITION)
        self.assertFalse(shop.BROKEN, "the shop is closed")
"""


@pytest.mark.parametrize("mode", mostly_slow(["auto", "off"], "auto", "off"))
@pytest.mark.parametrize("way", mostly_slow(WAYS, "path", met={"name": ["the checkout is itself the package"]}))
def test_law_03_24_tests_load_the_candidate_or_are_no_pass(make_site: SiteFactory, mode: str, way: str) -> None:
    site = with_shadow(make_site(name="shop_site", files={"__init__.py": ""}), mode)
    site.releaser("init", check=0)
    text = WAYS[way].replace("LIVE", repr(str(site.path))) + IMPORTING_TESTS
    reason = "loaded `shop.py` of the live checkout" if mode == "off" and "LIVE" in WAYS[way] else ""
    reason = "did not come to their end" if way in ("_exit", "exec") else reason
    earlier = site.snapshot()
    broken = site.push_from_elsewhere({**BROKEN_CODE, "site_tests.py": text})
    says(site.releaser("update", check=5), reason or "the shop is closed")
    assert site.snapshot() == earlier | {"(remote)": f"{broken} commit\trefs/heads/main"}
    if not reason:
        site.push_from_elsewhere(CODE)
        site.releaser("update", check=0)
        assert (read(site, "shop.py"), "edition 2" in read(site, LOG)) == (CODE["shop.py"], True)


@pytest.mark.slow
def test_a_required_mount_is_refused_where_the_kernel_allows_none(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", dotenv={"RELEASER_SHADOW": "required"})
    unshare = site.base / "unshare"
    unshare.write_text("#!/bin/sh\necho 'unshare: No space left on device' >&2\nexit 1\n", encoding="utf-8")
    unshare.chmod(0o755)
    env = {"PATH": f"{site.base}:{site.env['PATH']}"}
    for command in ("check", "update"):
        says(refused(site, command, env=env), "`shadow`", "`required`", "`auto`")
    site.write_dotenv(shadow="auto")
    says(site.releaser("check", env=env, check=0), "at a path of their own")
    assert site.json("update", env=env)["result"] == "updated"


#: Tests that leave daemons, the last one without the variables of the run; then they wait for our test.
DAEMONS = """
import subprocess, sys
if "MEETING_PORT" in os.environ:
    for number in range(COUNT):
        words = [sys.executable, "-c", "import time; time.sleep(600)", NAME]
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        subprocess.Popen(words, env={} if number == 2 else None, start_new_session=True, **quiet)
"""


@by_owner
@by_mode
@pytest.mark.parametrize("end", mostly_slow(["passed", "killed"], "killed"))
def test_law_10_24_daemons_of_tests_end_with_the_run(owned: SampleSite, mode: str, end: str) -> None:
    """The last one has cleared its environment: without a namespace, a run that is killed leaves it."""
    site, name, count = (
        with_shadow(owned, mode),
        f"daemon of {owned.base}",
        2 if (mode, end) == ("off", "killed") else 3,
    )
    daemons = DAEMONS.replace("NAME", repr(name)).replace("COUNT", str(count))

    def running() -> list[str]:  # by name: a namespace has numbers of its own
        command = f"grep -ls '[d]aemon of {site.base}' /proc/[0-9]*/cmdline"
        return site.run("sh", "-c", command, cwd=Path("/"), check=None).stdout.split()

    site.push_from_elsewhere({"site_tests.py": WAITING_TESTS + daemons})
    with during_tests(site, code=-9 if end == "killed" else 0) as run:
        assert len(running()) == count
        if end == "killed":
            run.process.kill()
            if mode == "off":
                site.releaser("prune", "--wait", "30", check=0)  # without a namespace, the next run ends them
            eventually(lambda: not running(), "the end of the daemons")
    eventually(lambda: not running(), "the end of the daemons")


#: A build backend; what it makes is the version, a module that git ignores beside its source, and files with paths.
BACKEND = """\
import os, pathlib, subprocess, wheels
def build_editable(directory, config_settings=None, metadata_directory=None):
    version = subprocess.run(["git", "describe", "--tags"], capture_output=True, text=True).stdout.strip() or "0"
    made, file = f"VERSION = {version!r}\\n" + pathlib.Path("shop.py").read_text(), pathlib.Path("made.py")
    if not file.exists() or file.read_text() != made:  # the resolution of a dynamic version builds, too
        file.write_text(made)
    place = os.getcwd()
    paths = {"shop.pth": f"{place}\\n{place}/src", "place.txt": place, "place.so": f"\\0{place}"}
    return wheels.build_wheel(pathlib.Path(directory), "shop", version, modules=paths).name
"""
MADE_TESTS = """\
import importlib.metadata, unittest, localtools, made, shop, store
class Made(unittest.TestCase):
    def test_made(self):
        self.assertEqual((localtools.BROKEN, store.EDITION), (False, shop.EDITION))
        self.assertEqual((made.EDITION, made.VERSION), (shop.EDITION, importlib.metadata.version("shop")))
"""
#: A `before_build` that uses a package, makes a text and a link with paths, opens a database and writes a log.
BEFORE_BUILD = """\
import os, pathlib, sqlite3, localtools
pathlib.Path("made.txt").write_text(os.getcwd())
os.system("ln -sfn $PWD/static made.link")
sqlite3.connect("shop.sqlite3").execute("CREATE TABLE IF NOT EXISTS build AS SELECT 1")
open("site.log", "a").write("built")
"""
SYSTEM = '\n[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
BUILT_SITE = {
    "pyproject.toml": SiteOptions(toml=SYSTEM).pyproject().replace('version = "1.0"', 'dynamic = ["version"]'),
    "backend.py": BACKEND,
    "wheels.py": Path(wheels.__file__).read_text(encoding="utf-8"),
    "site_tests.py": MADE_TESTS,
    "src/store.py": SHOP,
    "build.py": BEFORE_BUILD,
    ".gitignore": "__pycache__/\nmade*\n*.log\n*.sqlite3\n",
}
NEWS = {"src/store.py": "EDITION = 2\n", **CODE}


@pytest.mark.slow
@by_mode
@pytest.mark.parametrize(
    "option", mostly_slow(["", "--keep-code"], "", met={"": ["the version comes from tags of git"]})
)
def test_law_03_35_products_of_a_build_are_part_of_its_release(make_site: SiteFactory, mode: str, option: str) -> None:
    site = with_shadow(make_site(outer="Größe 1", files=BUILT_SITE), mode)
    site.releaser("init", check=0)
    assert next(site.link.glob("lib/*/site-packages/place.txt")).read_text(encoding="utf-8") == str(site.path)
    question = "import made as a, importlib.metadata as m; print(m.version('shop'), a.VERSION, a.EDITION, a.__file__)"
    assert site.python(question) == f"0 0 1 {site.path}/made.py"
    commit = site.push_from_elsewhere(NEWS)
    site.git("push", "--quiet", "origin", f"{commit}:refs/tags/2.0", cwd=site.elsewhere())
    steps = str(site.json("update")["steps"])
    assert site.python(question) == f"2.0 2.0 2 {site.path}/made.py"
    assert ("made.py" in steps, site.status()) == (True, "")
    silent(site.releaser("update"))
    site.releaser("rollback", *option.split(), check=0)
    assert site.python(question) == f"0 {'2.0 2' if option else '0 1'} {site.path}/made.py"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "off"])
def test_law_03_18_22_a_build_sees_the_candidate_and_leaves_data_alone(make_site: SiteFactory, mode: str) -> None:
    site = with_shadow(make_site(files=BUILT_SITE), mode, before_build="python build.py")
    give(site, {"site/made.txt": "mine", "site/made.link": "mine", "site/shop.sqlite3": "", "site/site.log": "live\n"})
    says(site.releaser("init", check=0), site.path / "made.txt", site.path / "made.link", "The site's file stays")
    assert (read(site, "made.txt"), read(site, "made.link")) == ("mine", "mine")
    site.git("clean", "--quiet", "-fx", "made.txt", "made.link")
    site.push_from_elsewhere({**NEWS, "build.py": f"import store\nassert store.EDITION == 2\n{BEFORE_BUILD}"})
    site.releaser("update", check=0)
    assert (os.readlink(site.path / "made.link"), read(site, "made.txt")) == (f"{site.path}/static", str(site.path))
    site.publish("localtools", "1.1.0", broken=True)
    assert "already failing" not in str(site.json("update", check=5))
    assert ((site.path / "shop.sqlite3").read_bytes(), read(site, "site.log")) == (b"", "live\n")


#: Tests that write in the checkout, and in vain into the state directory.
STATE_TESTS = """\
import pathlib, unittest
class State(unittest.TestCase):
    def test_state(self):
        pathlib.Path("uploads").mkdir()
        self.assertTrue(pathlib.Path("built").exists())
        with self.assertRaisesRegex(OSError, "Read-only"):
            pathlib.Path(STATE, "written").touch()
"""


@pytest.mark.slow
@pytest.mark.parametrize("set_to", ["../../state", "../.releaser/site"])
def test_law_18_builds_and_tests_write_in_a_shadow_whose_state_lies_elsewhere(
    make_site: SiteFactory, set_to: str
) -> None:
    """Also behind a link, as of a state directory that has moved to another disk."""
    site = make_site(files={"build.py": "open('built', 'w')"})
    state = site.base / "state"
    if "releaser" in set_to:
        state.mkdir()
        site.state.parent.mkdir()
        site.state.symlink_to(state)
    with_shadow(site, "auto", state_dir=set_to, before_build="python build.py")
    site.releaser("init", check=0)
    site.push_from_elsewhere({"site_tests.py": STATE_TESTS.replace("STATE", repr(str(state)))})
    site.releaser("update", check=0)
    assert (state / "releases").is_dir()
    assert not (site.path / "uploads").exists()


@pytest.mark.slow
def test_law_13_34_files_behind_a_link_in_the_place_of_products_stay(site: SampleSite) -> None:
    site.write_dotenv(before_build="sh -c 'test -h assets || { mkdir -p assets; echo built > assets/made.ignored; }'")
    site.update_to("1.1.0")
    give(site, {"../outside/made.ignored": "built\n"})
    (site.elsewhere() / "assets").symlink_to(site.base / "outside")
    site.push_from_elsewhere({})
    site.releaser("update")
    assert read(site, "../../outside/made.ignored") == "built\n"
    if not (site.path / "assets").is_symlink():  # the product is in the way
        (site.path / "assets").rename(site.path / "assets.old")
        site.releaser("update", check=0)
    assert (os.readlink(site.path / "assets"), read(site, "assets/made.ignored")) == (f"{site.base}/outside", "built\n")


@pytest.mark.slow
@by_owner
@by_mode
@pytest.mark.parametrize("then", mostly_slow(["rollback", "crash", "directory"], "rollback"))
def test_law_03_13_a_file_of_the_site_is_never_replaced_by_a_product(owned: SampleSite, mode: str, then: str) -> None:
    makes = "sh -c 'rm -r ../uploads && echo built > made.ignored && echo built > made.txt; rm -f kept.ignored'"
    site = with_shadow(owned, mode, before_build=makes)
    give(site, {"uploads/a.jpg": "live\n", "site/made.ignored": "by hand\n", "site/kept.ignored": ""})
    first, link, head, restarted = site.live(), os.readlink(site.link), site.head(), site.restarted_at()
    sees = "assert open('made.ignored').read() == 'by hand\\n' and open('kept.ignored')\n"
    commit = site.push_from_elsewhere({**CODE, "site_tests.py": WAITING_TESTS + sees})
    with during_tests(site, code=3 if then == "directory" else 0) as run:
        assert (read(site, "made.ignored"), read(site, "made.txt")) == ("by hand\n", "absent")
        if then == "directory":
            give(site, {"site/made.txt/mine": "mine\n"})
    assert read(site, "../uploads/a.jpg") == "live\n"
    if then == "directory":
        says(run.end(), site.path / "made.txt")
        assert (site.live(), site.head(), site.restarted_at()) == (first, head, restarted)
        assert (read(site, "made.ignored"), read(site, "made.txt/mine")) == ("by hand\n", "mine\n")
        return
    assert (read(site, "made.ignored"), read(site, "made.txt"), site.head()) == ("by hand\n", "built\n", commit)
    says(run.end(), site.path / "made.ignored", site.path / "kept.ignored", "The site's file stays")
    entry = {"phase": "changing", "command": "update", "run": first, "from": first, "to": site.live(), "link": link}
    site.releaser("rollback", check=0)
    if then == "crash":  # between checkout and flip
        give(site, {"site/made.txt": "built\n"})
        site.git("reset", "--quiet", "--hard", commit)
        (site.state / "journal.json").write_text(json.dumps(entry | {"head": head, "commit": commit}))
        site.releaser("prune", check=0)
    assert (read(site, "made.ignored"), read(site, "made.txt")) == ("by hand\n", "absent")
    assert (site.live(), site.head()) == (first, head)


FAILING = {"shop.py": "sh -c 'echo >> shop.py'", "the press is stuck": "sh -c 'echo the press is stuck >&2; exit 3'"}


@by_mode
@pytest.mark.parametrize("reason", mostly_slow(FAILING, "shop.py"))
def test_law_14_a_build_that_fails_or_edits_code_is_refused(make_site: SiteFactory, mode: str, reason: str) -> None:
    site = with_shadow(make_site.live(due="1.1.0"), mode, before_build=FAILING[reason])
    says(refused(site, "update", code=4), reason)


#: Test commands that pass, with the Python that they start, and why they are no pass.
ANOTHER_PYTHON = {
    "another Python": ("BASE -m unittest -v passing", "no Python of the release came to its end"),
    "no Python": ("echo Ran 1 test in 0.1s", "no Python of the release came to its end"),
    "uv run --isolated": ("uv run --isolated --no-project python -m unittest passing", "no Python of the release"),
    "another release": ("RELEASE/venv/bin/python -m unittest -v passing", "the Python of another release, ID,"),
    "a child of another release": ("python -m unittest -v reaching", "the Python of another release, ID,"),
    "below a program": ("sh -c 'python -m unittest -v passing; true'", ""),
    "by uv": ("uv run python -m unittest -v passing", ""),
    "tox": ("python tox.py", "the tests started `./.tox/py/bin/python`, not of the release"),
}
MET_OTHER = ["the tests run another Python", "wpt.fyi #1235", "edutelligence #720", "Disfactory #575"]
OTHERS = dict.fromkeys(("another Python", "uv run --isolated", "tox"), MET_OTHER)
#: As tox does: an environment of its own, with other packages.
TOX = "import subprocess, sys\nsubprocess.check_call(['uv', 'venv', '-q', '-p', sys.executable, '.tox/py'])\n"
TOX += "subprocess.check_call(['./.tox/py/bin/python', '-m', 'unittest', '-v', 'passing'])\n"
PASSING = "import unittest\nclass Passing(unittest.TestCase):\n    def test(self):\n        pass\n"


@pytest.mark.parametrize("mode", mostly_slow(["auto", "off"], "off"))
@pytest.mark.parametrize("way", mostly_slow(ANOTHER_PYTHON, "another Python", "a child of another release", met=OTHERS))
def test_law_03_a_pass_is_made_by_the_python_of_the_candidate(site: SampleSite, mode: str, way: str) -> None:
    command, reason = ANOTHER_PYTHON[way]
    release = site.release()
    program = str(site.path / ".venv/bin/python") if mode == "off" else f"{release}/venv/bin/python"
    reaching = f"{PASSING}import subprocess\nsubprocess.check_call([{program!r}, '-c', ''])\n"
    command = command.replace("BASE", os.path.realpath(sys.executable)).replace("RELEASE", str(release))
    site = with_shadow(site, mode, test_command=command)
    site.publish("alpha", "1.1.0")
    site.push_from_elsewhere({"passing.py": PASSING, "reaching.py": reaching, "tox.py": TOX})
    finished = site.releaser("update", check=5 if reason else 0)
    assert (site.release() == release) == bool(reason)
    says(finished, reason.replace("ID", release.name))


@pytest.mark.slow
def test_law_22_the_scripts_of_an_adopted_release_pass_as_those_of_a_candidate(make_site: SiteFactory) -> None:
    """Where nothing is mounted, the live release is tested as a copy, whose scripts name the Python of the link."""
    site = make_site(files={"passing.py": PASSING}, dotenv={"RELEASER_SHADOW": "off"})
    entry = "[console_scripts]\nalpha-tests = alpha:main\n"
    code = "import os, sys, unittest\nBROKEN = {}\ndef main():\n    assert not BROKEN\n"
    code += "    sys.path[0] = ''\n    unittest.main('passing', argv=['t'])\n"

    def offer(version: str, *, broken: bool = False) -> None:
        modules = {"alpha/__init__.py": code.format(broken), f"alpha-{version}.dist-info/entry_points.txt": entry}
        site.publish("alpha", version, modules=modules)

    offer("1.0.1")
    site.uv("lock", "--quiet", "--upgrade")
    site.push_commit("Upgrade")
    site.make_venv()
    site.write_dotenv(shadow="off", test_command="alpha-tests")
    site.releaser("check", "--tests", check=0)
    site.releaser("init", check=0)
    site.releaser("check", "--tests", check=0)
    offer("1.1.0", broken=True)
    assert "already failing" not in site.releaser("update", check=5).stderr
