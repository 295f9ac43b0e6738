"""Restart and health check of a new release, and the automatic rollback."""

import json
import os
import re
import shlex
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.e2e.scenes import CODE, MET_NEVER_WORKED, changes, mostly_slow, refused, says, silent, step_names
from tests.support.servers import WebSite, web_site
from tests.support.sites import SampleSite, SiteFactory, SiteOptions
from tests.support.smtp import mail_server, read_mail

NOTE = "import os, sys, pathlib; pathlib.Path(os.environ['SITE_RECORD'] + '.restarts').open('a').write("
RESTART = [sys.executable, "-c", NOTE + "os.getcwd() + ' ' + os.readlink('.venv') + '\\n')"]


def restarts(site: SampleSite) -> list[str]:
    """Return a line for each restart: the directory, and where the symlink led."""
    record = site.record.with_name(f"{site.record.name}.restarts")
    return record.read_text(encoding="utf-8").splitlines() if record.exists() else []


@pytest.mark.slow
def test_the_restart_command_runs_in_the_checkout_on_the_new_release(make_site: SiteFactory) -> None:
    site = make_site.live(settings={"restart": RESTART})
    touched = site.restarted_at()
    earlier = len(restarts(site))
    site.update_to("1.1.0")
    assert restarts(site)[earlier:] == [f"{site.path} ../.releaser/site/releases/{site.live()}/venv"]
    assert site.restarted_at() == touched
    site.releaser("rollback", check=0)
    assert len(restarts(site)) == earlier + 2
    silent(site.releaser("update"))
    assert len(restarts(site)) == earlier + 2


@pytest.mark.parametrize("restart", mostly_slow(["none", "auto"], "auto"))
def test_a_site_without_a_restart_file_says_how_it_restarts(make_site: SiteFactory, restart: str) -> None:
    site = make_site(restart_file=False, dotenv={"RELEASER_RESTART": restart})
    if restart == "auto":
        says(refused(site, "init"), "`releaser setup --set restart=WAY`", "none", "restart_file")
        return
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    answer = site.json("update")
    assert (answer["result"], site.version("alpha")) == ("updated", "1.1.0")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["tmp/restart.txt", "public/again.txt"])
def test_the_restart_file_is_found_or_set(make_site: SiteFactory, place: str) -> None:
    site = make_site(restart_file=False, files={f"{place.partition('/')[0]}/.gitignore": "*\n!.gitignore\n"})
    if not place.startswith("tmp"):
        site.write_dotenv(restart_file=place)
    site.releaser("init", check=0)
    file = site.path / place
    touched = file.stat().st_mtime_ns
    site.update_to("1.1.0")
    assert file.stat().st_mtime_ns > touched


@contextmanager
def healthy_with(site: SampleSite, *versions: str) -> Iterator[WebSite]:
    """Serve the site's health: 200 while one of these versions of alpha is live, else 500."""
    with web_site(lambda: 200 if site.version("alpha") in versions else 500) as web:
        site.write_dotenv(health_check=web.url, health_timeout="1s")
        yield web


SERVE = """\
import importlib, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        open(sys.argv[1] + ".asked", "a").close()
        module = importlib.import_module(self.path[1:])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(module.__version__.encode())

if os.path.exists(sys.argv[1]):
    os.kill(int(open(sys.argv[1]).read()), 9)
server = None
while not server:
    try:
        server = HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
    except OSError:
        time.sleep(0.01)  # the earlier process is about to end
pid = os.fork()
if pid:
    open(sys.argv[1], "w").write(str(pid))
    sys.exit()
for number in (0, 1, 2):
    os.dup2(os.open(os.devnull, os.O_RDWR), number)
server.serve_forever()
"""


@dataclass(frozen=True)
class Service:
    """A web server on the live release, which imports a package when a request names it; `restart` is a command."""

    url: str
    restart: str

    def ask(self, package: str) -> str:
        """Return the version of a package that the server has."""
        with urllib.request.urlopen(f"{self.url}/{package}", timeout=20) as answer:
            return str(answer.read().decode())


@contextmanager
def served(site: SampleSite) -> Iterator[Service]:
    """Serve a site with `.venv/bin/python` in a process that outlives releaser, until the end of the block."""
    script, pid = site.base / "serve.py", site.base / "serve.pid"
    script.write_text(SERVE, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = [".venv/bin/python", str(script), str(pid), str(port)]
    try:
        site.run(*words)
        yield Service(f"http://127.0.0.1:{port}", shlex.join(words))
    finally:
        if pid.exists():
            os.kill(int(pid.read_text(encoding="utf-8")), signal.SIGKILL)


@pytest.mark.slow
def test_law_21_a_healthy_release_stays(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    with served(site) as service:
        site.write_dotenv(health_check=f"{service.url}/beta", restart=service.restart)
        answer = site.json("update")
        assert (answer["result"], answer["problems"], service.ask("alpha")) == ("updated", [], "1.1.0")
    assert "health" in step_names(answer)


#: A restart that goes on in the background once the earlier process has answered the health check.
BACKGROUND = """
rm -f {pid}.asked; while kill -0 $PPID && test -e {pid} && ! test -e {pid}.asked; do sleep 0.1; done
{}
"""
NEW = {
    "sick": "{start}",
    "dead": "kill -9 $(cat {pid}); rm {pid}; .venv/bin/python -c 'import alpha' serve.py && {start}",
}
SICK = "import sys\nassert 'serve.py' not in ''.join(sys.argv)\n__version__ = '1.1.0'\n"


@pytest.mark.slow
@pytest.mark.parametrize("end", NEW)
def test_law_04_21_the_health_of_an_earlier_process_is_not_that_of_the_new_one(
    make_site: SiteFactory, end: str
) -> None:
    site = make_site.live()
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": SICK})
    script = site.base / "restart.sh"
    with served(site) as service:
        start = NEW[end].format(start=service.restart, pid=site.base / "serve.pid")
        background = BACKGROUND.format(start, pid=site.base / "serve.pid")
        script.write_text(f"({background}) > /dev/null 2>&1 &", encoding="utf-8")
        site.write_dotenv(restart=f"sh {script}", health_check=f"{service.url}/alpha", health_timeout="5s")
        says(site.releaser("update", check=6), "health check")
        assert (site.version("alpha"), service.ask("alpha")) == ("1.0.0", "1.0.0")


@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 6])
def test_law_04_a_way_back_restarts_by_the_settings_of_the_code_it_goes_to(make_site: SiteFactory, code: int) -> None:
    """A commit brings a restart program, its setting, and a health check; a person goes back, or an update (6)."""
    site = make_site.live(settings={"restart": ["sh", "-c", "echo earlier >> ../restarts"]})
    program, first = site.elsewhere() / "restart", site.live()
    program.write_text("#!/bin/sh\necho later > ../restarts\n", encoding="utf-8")
    program.chmod(0o755)
    settings = {"restart": ["./restart"], "health_check": ["test", "0", "=", str(code)], "health_timeout": "0s"}
    site.push_from_elsewhere({"pyproject.toml": SiteOptions(settings=settings).pyproject()})
    site.releaser("update", check=code)
    if code == 0:
        site.releaser("rollback", first, check=0)
    assert (site.live(), (site.outer / "restarts").read_text("utf-8")) == (first, "later\nearlier\n")


@pytest.mark.slow
@pytest.mark.parametrize("spoil", ["chmod 444 restart.txt", "rm restart.txt; mkdir restart.txt"])
def test_law_28_a_restart_file_that_cannot_be_touched_is_found_first(user_site: SampleSite, spoil: str) -> None:
    file = user_site.path / "config/tmp/restart.txt"
    user_site.run("sh", "-c", spoil, cwd=file.parent)
    for command in ("check", "update"):
        says(refused(user_site, command), f"`mv {file} {file}.old`")


def test_law_04_an_unhealthy_release_goes_back_by_itself_once_with_its_code(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0", settings={"restart": RESTART}, due="1.2.0")
    site.push_from_elsewhere(CODE)
    earlier, live, started = site.snapshot(), site.live(), len(restarts(site))
    with healthy_with(site, "1.0.0", "1.1.0") as web:
        finished = site.releaser("update", "--json", check=6)
        says(finished, "health", web.url, "500")
        assert site.snapshot() == earlier | {"(remote)": site.snapshot()["(remote)"]}
        assert (site.version("alpha"), site.live()) == ("1.1.0", live)
        assert len(restarts(site)) == started + 2, "the earlier release is restarted, too, and once"
        assert list(site.states().values()) == ["rolled-back", "live", "previous"]


FAILURES = {
    "health": ({"health_check": "{ echo the till is stuck; exit 3; }"}, "failed for (0|1).. s: .*the till is stuck"),
    "hanging health": ({"health_check": "exec sleep 60"}, "failed for (0|1).. s"),
    "restart": ({"restart": "{ echo no such unit >&2; exit 4; }"}, "no such unit"),
    "hanging restart": ({"restart": "exec sleep 60", "restart_timeout": "1s"}, "restart"),
}


@pytest.mark.parametrize("name", mostly_slow(FAILURES, "restart"))
def test_law_04_whatever_fails_after_the_flip_goes_back_and_stays_away(make_site: SiteFactory, name: str) -> None:
    site = make_site.live(due="1.1.0")
    settings, word = FAILURES[name]
    head, live = site.head(), site.live()
    variables = {f"RELEASER_{key.upper()}": value for key, value in settings.items()}
    key, command = next(iter(variables.items()))
    variables[key] = f"sh -c 'readlink .venv | grep -q {live} || {command}'"  # the live release is well
    site.write_dotenv({"RELEASER_HEALTH_TIMEOUT": "1s", **variables})
    answer = site.json("update", check=6)
    assert (answer["result"], answer["exit_code"]) == ("rolled-back", 6)
    assert any(re.search(word, str(problem)) for problem in answer["problems"]), answer["problems"]
    assert (site.live(), site.version("alpha"), site.head(), site.status()) == (live, "1.0.0", head, "")
    assert site.remote_head() == head
    assert [entry["name"] for entry in site.json("status", check=10)["on_hold"]] == ["alpha"]
    assert site.json("update")["result"] == "no-changes"  # law 6: the version is on hold


@pytest.mark.slow
def test_law_20_a_way_back_that_could_not_restart_needs_attention(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", dotenv={"RELEASER_RESTART": "sh -c 'exit 4'", "RELEASER_HEALTH_TIMEOUT": "0s"})
    for _ in range(2):  # a restart that works with no release is no fault of this one
        says(site.releaser("update", check=6), "Start the site: run the command of `restart`")
    assert site.json("status", check=10)["on_hold"] == []
    assert "automatic rollback" in str(site.json("status", check=10)["attention"])


#: What a person does while the new release is asked for its health, after a commit has removed `notes.txt`.
OBSTACLES = {
    "a file in the way": ("echo mine > notes.txt", "notes.txt"),
    "an edited file": ("echo >> shop.py", "shop.py"),
    "an edited lock": ("echo >> uv.lock", "uv.lock"),
    "another branch": ("git switch --quiet -c mine", "refs/heads/mine"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(OBSTACLES, "a file in the way"))
def test_law_04_28_a_persons_work_in_the_way_back_keeps_the_new_release_whole(
    make_site: SiteFactory, name: str
) -> None:
    act, word = OBSTACLES[name]
    site = make_site.live(files={"notes.txt": "old"}, settings={"before_build": ["sh", "-c", "ls > made.ignored"]})
    site.publish("alpha", "1.1.0")
    first, head = site.live(), site.push_from_elsewhere(CODE, remove="notes.txt")
    restart = f"readlink .venv > ../served; readlink .venv | grep -q {first} || {{ {act}; exit 4; }}"
    site.write_dotenv(restart=f"sh -c '{restart}'")
    finished = site.releaser("update", check=7)
    says(finished, word, f"Release {site.live()} stays live", "The restart failed")
    mine = site.git("diff"), site.git("stash", "list"), site.run("cat", "notes.txt", check=None).stdout
    assert (site.version("alpha"), site.head(), site.remote_head()) == ("1.1.0", head, head)
    assert (site.outer / "served").read_text().strip() == os.readlink(site.link)
    assert "notes.txt" not in (site.path / "made.ignored").read_text()
    assert not (site.state / "journal.json").exists()
    assert word in str(site.json("status", check=10)["attention"])
    site.write_dotenv(restart="true")
    assert any(mine)
    clean_up = {"a file in the way": "rm notes.txt", "another branch": "git switch -q main"}
    site.run("sh", "-c", clean_up.get(name, "git checkout -q ."))
    site.releaser("update", check=0)
    site.releaser("rollback", check=0)
    assert (site.live(), (site.path / "notes.txt").read_text()) == (first, "old")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "code"), [("rm .venv; mkdir .venv; exit 4", 7), ("rm .venv; mkdir .venv", 7), ("rm .venv; exit 4", 6)]
)
def test_law_04_19_21_what_takes_the_place_of_the_link_during_a_restart_is_a_persons(
    make_site: SiteFactory, act: str, code: int
) -> None:
    site = make_site.live(due="1.1.0")
    first, before, after = site.live(), site.head(), site.push_from_elsewhere(CODE)
    site.write_dotenv(restart=f"sh -c 'readlink .venv | grep -q {first} || {{ {act}; }}'")
    finished = site.releaser("update", check=code)
    if code == 6:  # a link that is gone is nobody's work
        assert (site.live(), site.head(), site.version("alpha")) == (first, before, "1.0.0")
        return
    says(finished, f"`{site.link}` was changed during this run.", "The code of ")
    assert "is live" not in finished.stdout + finished.stderr
    assert (site.link.is_symlink(), site.head()) == (False, after)
    site.releaser("rollback", first)
    assert (site.live(), site.head(), site.version("alpha")) == (first, before, "1.0.0")


@pytest.mark.slow
def test_law_09_a_lock_of_git_is_named_and_one_that_our_git_left_is_removed(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    for name in ("HEAD", "refs/heads/main", "refs/remotes/origin/main", "index"):
        lock = site.path / ".git" / f"{name}.lock"
        lock.touch()
        says(site.releaser("update", check=3), f"rm {lock}")
        if name != "index":
            lock.unlink()
    entry = {"phase": "building", "command": "update", "run": site.live()}
    (site.state / "journal.json").write_text(json.dumps(entry), encoding="utf-8")
    for path, hours in ((site.state / "journal.json", 1), (lock, -1)):  # the clock was set back since
        os.utime(path, (time.time() + 3600 * hours,) * 2)
    site.releaser("update", check=0)
    assert (lock.exists(), site.version("alpha")) == (False, "1.1.0")


@pytest.mark.met(*MET_NEVER_WORKED)
@pytest.mark.slow
def test_law_22_a_site_that_was_unhealthy_before_is_not_blamed_on_the_update(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    live = site.live()
    site.write_dotenv(health_check="http://127.0.0.1:1/", health_timeout="1s")
    says(site.releaser("check", "--live", check=10), "127.0.0.1:1")
    for _ in range(2):
        says(site.releaser("update", check=6), "already failing", "127.0.0.1:1")
        assert (site.live(), site.version("alpha")) == (live, "1.0.0")
        assert site.json("status", check=10)["on_hold"] == [], "it is tried again"
    site.write_dotenv(health_check=f"sh -c 'sleep 1.5; readlink .venv | grep -q {live}'", health_timeout="4s")
    assert "already failing" not in site.releaser("update", check=6).stderr, "the live release was slow, but well"


def test_an_unhealthy_rollback_returns_to_the_release_that_was_healthy(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0")
    earlier = site.snapshot()
    with healthy_with(site, "1.1.0"):
        assert site.json("rollback", check=6)["result"] == "rolled-back"
    assert site.version("alpha") == "1.1.0"
    assert site.snapshot()["(commit)"] == earlier["(commit)"]


@pytest.mark.slow
def test_a_rollback_of_a_sick_site_stays_and_says_so(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0")
    with healthy_with(site):
        says(site.releaser("rollback", check=7), "health")
    assert site.version("alpha") == "1.0.0"


@pytest.mark.slow
def test_a_first_release_that_is_unhealthy_stays_and_says_so(make_site: SiteFactory) -> None:
    """Nothing is there to go back to."""
    site = make_site(dotenv={"RELEASER_HEALTH_CHECK": "false", "RELEASER_HEALTH_TIMEOUT": "1s"})
    says(site.releaser("init", check=7), "health")
    assert site.version("alpha") == "1.0.0"
    site.releaser("update", check=0)
    run = next(record["run"] for record in site.json("history") if record["command"] == "init")
    advice = [problem["advice"] for problem in site.json("status", check=10)["attention"]]
    assert {f"Run `releaser logs {run}`.", "Look at the log of the site."} <= {*advice}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_after_the_flip_finishes_what_the_flip_began(make_site: SiteFactory, name: str) -> None:
    """The restart command signals releaser, its parent."""
    number = signal.Signals[name]
    site = make_site.live(due="1.1.0")
    ready = site.base / "signalled"
    script = f"test -e {ready} || {{ touch {ready}; kill -{number.value} $PPID; sleep 0.5; }}"
    with mail_server() as server:
        site.write_dotenv({"ADMINS_JSON": "ada@example.org"}, restart=f'sh -c "{script}"', smtp_host=server.host)
        finished = site.releaser("update", check=128 + number)
    ((_, mail, _),) = server.mails
    text = " ".join(read_mail(mail).split())
    for words in ("The new release is live", "alpha 1.0.0 → 1.1.0", f"Release {site.live()} is live", "unchanged"):
        assert (words in text) == (words != "unchanged"), text
    assert ("unchanged" in finished.stderr, site.version("alpha")) == (False, "1.1.0")
    site.releaser("update", check=0)
    assert (site.remote_head(), site.status(), changes(site.json("update"))) == (site.head(), "", {})
    assert list(site.states().values()) == ["live", "previous"]


@pytest.mark.slow
def test_law_21_26_a_signal_and_a_restart_that_fails_say_that_a_release_was_live(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    repaired, earlier = site.base / "repaired", site.live()
    script = f"test -e {repaired} || {{ kill -TERM $PPID; exit 1; }}"
    with mail_server() as server:
        site.write_dotenv({"ADMINS_JSON": "ada@example.org"}, restart=f'sh -c "{script}"', smtp_host=server.host)
        finished = site.releaser("update", check=128 + signal.SIGTERM)
    ((_, mail, _),) = server.mails
    assert mail["Subject"].startswith("Interrupted: ")
    for text in (finished.stderr, read_mail(mail)):
        words = " ".join(text.split())
        assert ("was live, and failed: The restart failed" in words, "unchanged" in words) == (True, False), words
        assert f"{earlier} is live again; the next run does what is left." in words
    assert (site.live(), site.json("history")[0]["result"]) == (earlier, "rolled-back")
    repaired.touch()
    says(site.releaser("update", check=7), "which failed", "live again", "alpha 1.0.0 → 1.1.0")


@pytest.mark.slow
def test_law_26_a_rollback_that_a_signal_ends_names_what_it_has_changed(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    site.releaser("update", check=0)
    with mail_server() as server:
        restart = 'sh -c "kill -TERM $PPID"'
        site.write_dotenv({"ADMINS_JSON": "ada@example.org"}, restart=restart, smtp_host=server.host)
        site.releaser("rollback", check=128 + signal.SIGTERM)
    ((_, mail, _),) = server.mails
    text = " ".join(read_mail(mail).split())
    assert ("alpha 1.1.0 → 1.0.0" in text, "beta" in text) == (True, False), text


def test_builds_and_tests_get_the_processor_after_the_site_and_a_restart_does_not(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    site.write_dotenv(
        test_command="python -c 'import os; assert os.nice(0) > 0, os.nice(0)'", restart="sh -c 'nice > ../nice'"
    )
    site.releaser("update", check=0)
    assert (site.outer / "nice").read_text(encoding="utf-8").strip() == str(os.nice(0))
