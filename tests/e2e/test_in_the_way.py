"""What other users of the host, an inherited environment and odd repositories can put in the way of a site."""

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.scenes import during_tests, eventually, mostly_slow, refused, says, silent
from tests.e2e.test_limits import endless
from tests.support import sample
from tests.support.commands import Identity, reachable_python, require, run
from tests.support.servers import WAITING_TESTS
from tests.support.sites import SampleSite, SiteFactory

STRANGER = 65533

#: Run by a stranger: makes directories in directories, one at a time, so that no path is too long.
NEST = """\
import os, sys
os.chdir(sys.argv[1])
for _ in range(int(sys.argv[2])):
    os.mkdir("d")
    os.chdir("d")
"""

#: Run by a stranger: leaves sockets behind.
LISTEN = """\
import os, socket, sys
os.chdir(sys.argv[1])
for number in range(1900):
    socket.socket(socket.AF_UNIX).bind(f"socket{number}")
"""


def by_stranger(*words: str | Path) -> None:
    """Run a program as a user whom the site knows nothing of, such as the web server's."""
    prefix = ("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", "--")
    run([*prefix, *words], cwd=Path("/"), env={"PATH": "/usr/bin:/bin"}, check=0)


def give(site: SampleSite, directory: Path) -> Path:
    """Make a directory that belongs to the stranger, and in which the site's user may write, too."""
    site.run("mkdir", "-p", directory)
    os.chown(directory, STRANGER, STRANGER)
    directory.chmod(0o777)
    return directory


def put_pipe(path: Path) -> None:
    """Let the stranger put a pipe at a path."""
    by_stranger("rm", "-f", path)
    by_stranger("mkfifo", "-m", "666", path)


def test_law_09_42_a_huge_file_of_settings_is_refused_and_not_read(site: SampleSite) -> None:
    os.truncate(site.outer / ".env", 1 << 40)
    says(site.releaser("check", check=3), f"`{site.outer / '.env'}` is larger than 16 MiB.")


@pytest.mark.slow
def test_law_05_09_42_a_pipe_at_the_restart_file(user_site: SampleSite, ordinary_user: Identity | None) -> None:
    """A stranger puts it there during the tests; then it is in the way of recovery and of a rollback."""
    require(ordinary_user, "only root can be another user")
    site, pipe = user_site, user_site.path / "config/tmp/restart.txt"
    site.push_commit("Wait", {"site_tests.py": WAITING_TESTS})
    first = site.update_to("1.1.0")
    give(site, pipe.parent)
    site.publish("alpha", "1.2.0")
    with during_tests(site, code=6) as update:
        put_pipe(pipe)
    says(update.end(), "restart.txt")
    assert (site.live(), site.version("alpha"), (site.state / "journal.json").exists()) == (first, "1.1.0", False)
    ignored, attributes = pipe.with_name(".gitignore"), pipe.with_name(".gitattributes")
    by_stranger("mkfifo", "-m", "666", attributes)
    by_stranger("sh", "-c", 'cp "$1" "$1.new" && mv -f "$1.new" "$1"', "sh", ignored)  # so that git reads both
    says(site.releaser("rollback", check=4), f"rm {attributes}")
    by_stranger("rm", attributes)
    says(site.releaser("rollback", check=7), f"mv {pipe}", "stays live")
    assert site.version("alpha") == "1.0.0"
    by_stranger("mv", pipe, f"{pipe}.old")
    site.publish("alpha", "1.3.0")
    site.releaser("update", check=0)
    assert site.version("alpha") == "1.3.0"
    site.releaser("rollback", check=0)
    assert site.version("alpha") == "1.0.0"


@pytest.mark.slow
def test_law_09_a_deep_tree_and_many_sockets_of_a_stranger(
    user_site: SampleSite, ordinary_user: Identity | None
) -> None:
    """Both in the checkout and beside it; what is too deep is named, and left out even where `shadow_copy` names it."""
    require(ordinary_user, "only root can be another user")
    site, python = user_site, reachable_python()
    for place, depth in (("../media", 1200), ("../cellar", 1200), ("uploads", 1200)):
        by_stranger(python, "-c", NEST, give(site, site.path / place), str(depth))
    by_stranger("touch", site.path / "uploads/photo")
    by_stranger(python, "-c", LISTEN, give(site, site.outer / "run"))
    site.write_dotenv(shadow_copy="cellar")
    try:
        text = site.releaser("check", check=0).stderr
        assert [name for name in ("media", "uploads", "cellar") if f"/{name}" in text] == ["media", "uploads"], text
        site.publish("alpha", "1.1.0")
        finished = site.releaser("update", check=0)
        assert site.version("alpha") == "1.1.0"
        site.releaser("rollback", check=0)
        silent(site.releaser("update"))
        assert not list(site.state.glob("shadow*")), finished
    finally:
        for place in ("outer/media", "outer/cellar", "outer/site/uploads"):  # too deep for Python to delete
            run(["rm", "-rf", site.base / place], cwd=Path("/"), env={"PATH": "/usr/bin:/bin"})


DISCOVERED = (
    "import shop, unittest\n\nclass Tests(unittest.TestCase):\n    def test(self):\n        assert not shop.BROKEN\n"
)


@pytest.mark.slow
def test_law_18_30_code_that_a_stranger_left_in_the_checkout_is_no_test(
    user_site: SampleSite, ordinary_user: Identity | None
) -> None:
    """The tests find no module in a directory that is theirs to write in, and a closed one is in nobody's way."""
    require(ordinary_user, "only root can be another user")
    files = {"tests/__init__.py": "", "tests/test_shop.py": DISCOVERED, "pictures/.gitignore": "*\n!.gitignore\n"}
    site, trace = user_site, user_site.outer / "evil"
    site.push_commit("Discover the tests", files)
    site.write_dotenv(test_command="python -m unittest discover -v", shadow="off")
    site.publish("alpha", "1.1.0")
    evil = f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n"
    site.run("mkdir", "assets")
    for place in (site.path / "media", site.path / "pictures", site.path / "assets/uploads"):
        give(site, place)
        for name, text in {"__init__.py": "", "test_evil.py": evil}.items():
            by_stranger("sh", "-c", 'printf %s "$1" > "$2"', "sh", text, place / name)
    closed = site.path / "media/closed"
    by_stranger("sh", "-c", 'mkdir "$1" && touch "$1/photo" && chmod 744 "$1"', "sh", closed)
    says(site.releaser("check", check=0), "other users may write there", f"{site.path}/media")
    site.releaser("update", check=0)
    assert (site.version("alpha"), trace.exists()) == ("1.1.0", False)
    assert "test_shop" in (site.release() / "tests.log").read_text(encoding="utf-8")


BROKEN = {"site_tests.py": "import sys\n\nsys.exit('a broken commit')\n", "new.txt": "untested"}


@pytest.mark.parametrize("how", ["sparse", "include"])
def test_law_01_33_core_worktree_leads_no_commit_into_the_checkout(make_site: SiteFactory, how: str) -> None:
    """`git sparse-checkout` moves the setting to `config.worktree`; another file may be included."""
    site = make_site.live()
    site.git("config", "core.worktree", site.path)
    if how == "sparse":
        site.git("sparse-checkout", "init", "--no-cone")
        site.git("sparse-checkout", "set", "/*")
        assert "worktree =" in (site.path / ".git/config.worktree").read_text(encoding="utf-8")
    else:
        site.git("config", "--unset", "core.worktree")
        site.edit("../included", f"[core]\n\tworktree = {site.path}\n")
        site.git("config", "include.path", site.outer / "included")
    commit = site.push_from_elsewhere(BROKEN)
    remote = site.remote_head()
    site.releaser("update", check=5)
    assert not (site.path / "new.txt").exists()
    assert (site.status(), site.head() == commit, site.remote_head()) == ("", False, remote)
    good = site.push_from_elsewhere({"site_tests.py": sample.FILES["site_tests.py"]}, remove="new.txt")
    site.releaser("update", check=0)
    assert (site.head(), site.status()) == (good, "")


ASKING = """\
import os, subprocess, sys, unittest

class Asking(unittest.TestCase):
    def test_git(self):
        top = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True).stdout.strip()
        self.assertTrue(os.path.samefile(top, "."), top)
        given = {name for name in os.environ if name.startswith("GIT_")} - {"GIT_OPTIONAL_LOCKS"}
        self.assertEqual(given, {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"})
"""


def test_law_33_a_run_by_a_hook_of_git_asks_the_own_repository(make_site: SiteFactory) -> None:
    """It takes its old objects from another directory, by a relative path, and has a pipe of a daemon of git."""
    site = make_site.live(files={"site_tests.py": ASKING}, due="1.1.0")
    objects = site.path / ".git" / "objects"
    objects.rename(site.base / "objects")
    (objects / "info").mkdir(parents=True)
    (objects / "info" / "alternates").write_text("# shared\n../../../../objects\n", "utf-8")
    os.mkfifo(site.path / ".git" / "fsmonitor--daemon.ipc")
    other = site.elsewhere()
    env = {
        "GIT_DIR": f"{other}/.git",
        "GIT_WORK_TREE": f"{other}",
        "GIT_INDEX_FILE": f"{other}/.git/index",
        "GIT_COMMON_DIR": f"{other}/.git",
        "GIT_OBJECT_DIRECTORY": f"{site.base}/nowhere",
        "GIT_CONFIG_PARAMETERS": f"'core.worktree'='{other}'",
        "GIT_EXEC_PATH": f"{site.base}/nowhere",
        "GIT_NAMESPACE": "other",
    }
    site.releaser("update", check=0, env=env)
    assert site.version("alpha") == "1.1.0"
    assert site.remote_head() == site.head()
    assert site.git("status", "--porcelain", cwd=other) == ""


@pytest.mark.parametrize("is_registered", mostly_slow([True, False], True))
def test_law_33_a_commit_that_adds_a_submodule(make_site: SiteFactory, *, is_registered: bool) -> None:
    site = make_site.live(due="1.1.0")
    clone = site.elsewhere()
    site.git("update-index", "--add", "--cacheinfo", f"160000,{site.head()},module", cwd=clone)
    if is_registered:
        (clone / ".gitmodules").write_text('[submodule "module"]\n\tpath = module\n\turl = ../m\n', encoding="utf-8")
        site.git("add", ".gitmodules", cwd=clone)
    site.git("commit", "--quiet", "--message", "Add a submodule", cwd=clone)
    site.git("push", "--quiet", cwd=clone)
    paths = "module .gitmodules" if is_registered else "module"
    remove = f"git rm --cached {' '.join(sorted(paths.split()))}"
    for _ in range(2):
        says(refused(site, "update"), "submodules", "live", remove)
    if not is_registered:  # a person pulls it, and it has files
        before = site.head()
        site.git("pull", "--quiet")
        (site.path / "module" / "mine.txt").write_text("mine", "utf-8")
        for command in ("check", "init", "update"):
            says(site.releaser(command, check=3), remove, f"git -C {site.path} pull")
        assert "`module`" in site.releaser("status", check=10).stdout
        says(refused(site, "rollback", "live"), "submodules", "module", "--keep-code")
        site.git("reset", "--quiet", "--keep", before)
    site.git("rm", "--quiet", "--cached", *paths.split(), cwd=clone)
    site.git("commit", "--quiet", "--message", "Without it", cwd=clone)
    site.git("push", "--quiet", cwd=clone)
    site.releaser("update", check=0)
    assert (site.version("alpha"), site.head()) == ("1.1.0", site.remote_head())


@pytest.mark.slow
def test_law_42_a_signal_ends_a_health_check_that_drips(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    with endless(b"HTTP/1.1 200 OK\r\n", pause=0.3) as (port, _):
        site.write_dotenv(health_check=f"http://127.0.0.1:{port}/", health_timeout="25s", restart="true")
        first = site.live()
        with site.starting("update") as update:
            eventually(lambda: site.live() != first, "the flip", seconds=60)
            update.send_signal(signal.SIGTERM)
            _, text = update.communicate(timeout=30)
    assert update.returncode == 128 + signal.SIGTERM, text
    assert (site.live(), site.version("alpha")) == (first, "1.0.0"), text
    site.write_dotenv(restart="true")
    finished = site.releaser("update")
    site.releaser("update", check=0)
    assert site.version("alpha") == "1.1.0", finished
