"""Secrets stay secret, strangers decide nothing, and a pushed commit writes nowhere else: one attack for each test."""

import base64
import contextlib
import os
import shutil
import stat
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.e2e.scenes import during_tests, mostly_slow, says, times_of_tree
from tests.support.commands import Identity, require
from tests.support.servers import WAITING_TESTS
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server, read_mail

SECRET = f"s3cret{os.getpid()}"  # of this worker: tests look at all processes
URL = f"http://ada:{SECRET}@localhost:1/shop.git"  # no server is there
#: Where a password is; how the update ends, the health check, and what is done.
PLACES: dict[str, tuple[int, str, Callable[[SampleSite], object]]] = {
    "all is well": (0, "true", lambda site: (site.git("config", f"url.{site.remote}.insteadOf", URL),
                                             site.git("remote", "set-url", "origin", URL))),
    "dead index": (4, "true", lambda site: site.env.update(UV_FIND_LINKS=URL)),
    "dead remote": (4, "true", lambda site: site.git("remote", "set-url", "origin", URL)),
    "remote without name": (3, "true", lambda site: site.git("config", "branch.main.remote", URL)),
    "dead remote of pushes": (7, "true", lambda site: site.git("config", "remote.origin.pushurl", URL)),
    "health check": (6, URL, lambda site: None),
    "an @ in a password": (6, URL.replace(SECRET, f"x@{SECRET}"), lambda site: None),
    "wrong setting": (3, URL.replace("http", "ftp"), lambda site: None),
    "wrong table": (3, "true", lambda site: site.env.update(RELEASER_TEST_ENVIRONMENT=f'{{"A": "{SECRET}", "B": 5}}')),
    "token in a query": (6, f"http://localhost:1/?X-Amz-Signature={SECRET}&api-key={SECRET}", lambda site: None),
}  # fmt: skip


def note_processes(seen: set[bytes]) -> None:
    """Add the words of every process."""
    for path in [Path("/proc", name, "cmdline") for name in os.listdir("/proc") if name.isdigit()]:
        with contextlib.suppress(OSError):
            seen.add(path.read_bytes())


@pytest.mark.parametrize("name", mostly_slow(PLACES, "all is well", "dead remote"))
def test_law_29_a_password_appears_nowhere(make_site: SiteFactory, name: str) -> None:
    site, (code, health_check, act), seen = make_site.live(due="1.1.0"), PLACES[name], set[bytes]()
    with mail_server() as server:
        dotenv = {"ADMINS_JSON": "ada@example.org", "RELEASER_SMTP_HOST": server.host, "RELEASER_SMTP_USER": "ada"}
        site.write_dotenv(dotenv, health_check=health_check, health_timeout="0s")
        act(site)
        env = {"RELEASER_SMTP_PASSWORD": SECRET, "UV_INDEX_SHOP_PASSWORD": SECRET}
        with site.starting("update", "--json", "-v", env=env) as process:
            while process.poll() is None:
                note_processes(seen)
            printed = {"update": "".join(process.communicate())}
        assert (process.returncode, server.logins) == (code, [("ada", SECRET)]), printed
        mails = [mail for _, mail, _ in server.mails]
        printed["mail"] = "".join(mail["Subject"] + read_mail(mail) + read_mail(mail, "html") for mail in mails)
    for command in ("status", "status --json", "list --json", "logs", "show live --json", "check", "check --json"):
        printed[command] = str(site.releaser(command))
    printed["processes"] = repr(seen)
    printed |= {"commits": site.git("log", "-p"), "tests": repr(site.test_runs())}
    leaks = [place for place, text in printed.items() if SECRET in text]
    leaks += [str(path) for path in site.state.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert not leaks, "\n".join([*leaks, *(line for line in str(printed).split("\\n") if SECRET in line)])


def exposed(place: Path) -> list[str]:
    """Return what other users can read or write below a directory; venvs are for all to read."""
    shown = []
    for path in sorted(path for path in place.iterdir() if not path.is_symlink() and path.name != "venv"):
        mode = path.stat().st_mode
        is_for_all = path.name in ("releases", "lease") or path.parent.name == "releases"
        shown += [f"{stat.filemode(mode)} {path}"] if mode & (0o022 if is_for_all else 0o077) else []
        shown += exposed(path) if path.is_dir() and mode & 0o011 else []
    return shown


def test_law_30_no_other_user_sees_the_state_of_a_run(make_site: SiteFactory) -> None:
    site = make_site.live(files={"site_tests.py": WAITING_TESTS}, due="1.1.0")
    site.path.chmod(0o755)
    site.write_dotenv({"ADMINS_JSON": "ada@example.org", "RELEASER_SMTP_HOST": "localhost:1"})
    with contextlib.ExitStack() as stack:
        stack.callback(os.umask, os.umask(0))
        stack.enter_context(during_tests(site, code=7))
        assert exposed(site.state) == []
    assert (exposed(site.state), len(list((site.state / "outbox" / "new").iterdir()))) == ([], 1)


INTRUSIONS = [f"{name} {how}" for name in (".env", "journal.json", "site", ".releaser") for how in ("link", "owner")]
INTRUSIONS += [".env group", ".env others", "journal.json group", "releases others"]


@pytest.mark.slow
@pytest.mark.parametrize("intrusion", mostly_slow(INTRUSIONS, ".env others", "journal.json owner"))
def test_law_30_strangers(make_site: SiteFactory, ordinary_user: Identity | None, intrusion: str) -> None:
    """A path belongs to a stranger, is a stranger's link, or can be written by the stranger's group, or by everyone."""
    require(ordinary_user, "only root can make files of another user")
    site, (name, how), who = make_site.live(due="1.1.0"), intrusion.split(), getattr(ordinary_user, "user", 0)
    path = {".env": site.outer, ".releaser": site.outer, "site": site.state.parent}.get(name, site.state) / name
    if name == ".env":
        site.write_dotenv(uv="../program")
        site.edit("../program", f"#!/bin/sh\ntouch {site.base}/evil\n").chmod(0o755)
    if name == "journal.json":
        path.write_text('{"phase": "building", "command": "update", "run": "20260101T000000Z"}', encoding="utf-8")
    if how == "link":
        path.symlink_to(path.rename(site.base / "moved"))
    os.chown(path, who if how in ("link", "owner") else -1, who if how == "group" else -1, follow_symlinks=False)
    path.chmod(path.stat().st_mode | {"group": 0o020, "others": 0o002}.get(how, 0))
    for command in ("status", "update"):
        finished = site.releaser(command)
        assert not (site.base / "evil").exists(), f"{command} ran a stranger's program\n{finished}"
    says(finished, name)
    assert finished.returncode == 3 or f"{name}.broken" in finished.stderr, str(finished)


LINKS = ["uv.lock", "pyproject.toml", "config/tmp", "config/tmp/restart.txt", "photos", ".venv", "tests.log"]
PLANT = "import os, pathlib, unittest\n\nclass Plant(unittest.TestCase):\n    def test(self):\n"
PLANT += "        for name in ('tests.log', '.tests.log.releaser.new', 'manifest.json', 'state.json', 'built'):\n"
PLANT += "            pathlib.Path(os.environ['VIRTUAL_ENV']).with_name(name).symlink_to('OUTSIDE/shop.py')\n"


@pytest.mark.parametrize("name", mostly_slow(LINKS, "uv.lock", "config/tmp"))
def test_law_34_a_pushed_commit_writes_nowhere_else(make_site: SiteFactory, name: str) -> None:
    """It has a link to the same path of another directory; or its tests make some beside the venv of the candidate."""
    site = make_site.live(files={"photos/cat.txt": "a cat"}, due="1.1.0")
    site.edit("photos/upload.txt", "from a visitor")
    (site.path / "config" / "tmp" / "restart.txt").unlink()  # else it would be in the way
    outside, clone = site.base / "outside", site.elsewhere()
    shutil.copytree(clone, outside, ignore=shutil.ignore_patterns(".git"))
    if name == "tests.log":
        (clone / "site_tests.py").write_text(PLANT.replace("OUTSIDE", str(outside)), encoding="utf-8")
    else:
        site.run("rm", "-rf", clone / name)
        (clone / name).symlink_to(outside / name)
    for words in ("add --all --force", "commit --quiet --message Link", "push --quiet"):
        site.git(*words.split(), cwd=clone)
    before, finished = times_of_tree(outside), site.releaser("update")
    assert times_of_tree(outside) == before, f"{name}: something was written outside\n{finished}"
    says(finished, *([name] if finished.returncode == 3 else []))


@pytest.mark.parametrize("user", mostly_slow(["ada:SECRET%40", "SECRET:"], "SECRET:"))
def test_law_29_a_password_in_the_url_of_a_remote_still_opens_it(make_site: SiteFactory, user: str) -> None:
    site, seen, user = make_site.live(), set[bytes](), user.replace("SECRET", SECRET)
    wanted = "Basic " + base64.b64encode(unquote(user).encode()).decode()
    site.write_dotenv(git_push="off")
    commit = site.push_from_elsewhere({"notes.txt": "pulled"})
    site.git("update-server-info", cwd=site.remote)

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            note_processes(seen)
            if self.headers["Authorization"] == wanted:
                super().do_GET()
                return
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site.remote))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site.git("remote", "set-url", "origin", f"http://{user}@127.0.0.1:{server.server_port}/")
        site.releaser("update", check=0)
        server.shutdown()
    assert (site.head(), SECRET in repr(seen)) == (commit, False)
