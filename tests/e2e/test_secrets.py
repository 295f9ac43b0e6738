"""Secrets stay secret, strangers decide nothing, and a pushed commit writes nowhere else: one attack for each test."""

import base64
import contextlib
import os
import pwd
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.e2e.scenes import during_tests, mostly_slow, refused, says, times_of_tree
from tests.faults.tracing import run_under
from tests.support.commands import Identity, require
from tests.support.servers import WAITING_TESTS, git_server
from tests.support.sites import SampleSite, SiteFactory, user_directory
from tests.support.smtp import mail_server, read_mail

SECRET = f"s3cret{os.getpid()}"  # of this worker: tests look at all processes
ECHOED = base64.b64encode(f"\0ada\0{SECRET}".encode()).decode()  # as a mail server echoes it
CODED = ECHOED[8:20]
URL = f"http://ada:{SECRET}@localhost:1/shop.git"  # no server is there
#: Where a password is; how the update ends, the health check, and what is done.
PLACES: dict[str, tuple[int, str, Callable[[SampleSite], object]]] = {
    "all is well": (0, "true", lambda site: (site.git("config", f"url.{site.remote}.insteadOf", URL),
                                             site.git("remote", "set-url", "origin", URL))),
    "dead index": (4, "true", lambda site: site.env.update(UV_FIND_LINKS=URL)),
    "dead remote": (4, "true", lambda site: site.git("remote", "set-url", "origin", URL)),
    "a token alone": (4, "true", lambda site: site.git("remote", "set-url", "origin", f"http://{SECRET}@localhost:1/")),
    "remote without name": (3, "true", lambda site: site.git("config", "branch.main.remote", URL)),
    "dead remote of pushes": (7, "true", lambda site: site.git("config", "remote.origin.pushurl", URL)),
    "health check": (6, URL, lambda site: None),
    "an @ in a password": (6, URL.replace(SECRET, f"x@{SECRET}"), lambda site: None),
    "wrong setting": (3, URL.replace("http", "ftp"), lambda site: None),
    "wrong table": (3, "true", lambda site: site.env.update(RELEASER_TEST_ENVIRONMENT=f'{{"A": "{SECRET}", "B": 5}}')),
    "mail server": (3, "true", lambda site: site.env.update(RELEASER_SMTP_HOST=f"ada:{SECRET}@localhost:587")),
    "no helper": (3, "true", lambda site: site.git("remote", "set-url", "origin", f"ftp://{SECRET}@host/")),
    "echoed": (6, "sh -c 'echo no: $(cat ../../echo).; exit 1'",
               lambda site: (site.base / "echo").write_text(f"{SECRET} {ECHOED}")),
    "a monitor": (0, "true", lambda site: site.env.update(RELEASER_PING_URL=f"http://localhost:1/{SECRET}?x={SECRET}")),
    "wrong monitor": (3, "true", lambda site: site.env.update(RELEASER_PING_URL=f"hc-ping.com/{SECRET}")),
    "token in a query": (6, f"http://localhost:1/?X-Amz-Signature={SECRET}&api-key={SECRET}", lambda site: None),
}  # fmt: skip


def note_processes(seen: set[bytes]) -> None:
    """Add the words of every process."""
    for path in [Path("/proc", name, "cmdline") for name in os.listdir("/proc") if name.isdigit()]:
        with contextlib.suppress(OSError):
            seen.add(path.read_bytes())


@pytest.mark.parametrize("name", mostly_slow(PLACES, "all is well"))
def test_law_29_a_password_appears_nowhere(make_site: SiteFactory, name: str) -> None:
    require(shutil.which("strace"), "strace is needed to see the words of all processes")
    site, (code, health_check, act) = make_site.live(due="1.1.0"), PLACES[name]
    processes = site.base / "processes"  # the words of each program that the update starts, however short it lives
    tracer = ["strace", "-qq", "-f", "--seccomp-bpf", "-s", "65536", "-e", "trace=execve", "-o", str(processes)]
    with mail_server() as server:
        dotenv = {"ADMINS_JSON": "ada@example.org", "RELEASER_SMTP_HOST": server.host, "RELEASER_SMTP_USER": "ada"}
        site.write_dotenv(dotenv, health_check=health_check, health_timeout="0s")
        act(site)
        env = {"RELEASER_SMTP_PASSWORD": SECRET, "UV_INDEX_SHOP_PASSWORD": SECRET}
        finished = run_under(site, tracer, "update --json -v", env=env)
        printed = {"update": finished.stdout + finished.stderr}
        assert (finished.returncode, server.logins) == (code, [("ada", SECRET)]), printed
        mails = [mail for _, mail, _ in server.mails]
        printed["mail"] = "".join(mail["Subject"] + read_mail(mail) + read_mail(mail, "html") for mail in mails)
    for command in ("status", "status --json", "list --json", "logs", "show live --json", "check", "check --json"):
        printed[command] = str(site.releaser(command, env=env))
    printed["processes"] = processes.read_text(encoding="utf-8")
    printed |= {"commits": site.git("log", "-p"), "tests": repr(site.test_runs())}
    leaks = [place for place, text in printed.items() if SECRET in text or CODED in text]
    leaks += [str(path) for path in site.state.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert not leaks, "\n".join([*leaks, *(line for line in str(printed).split("\\n") if SECRET in line)])


def test_law_29_commands_of_people_are_in_no_log(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    names = ("restart", "restart_workers", "before_restart", "after_live", "health_check")
    site.write_dotenv({f"RELEASER_{name.upper()}": f"true hidden-{number}" for number, name in enumerate(names)})
    finished = site.releaser("update", "-v", check=0)
    shown = [path for path in site.state.rglob("*") if path.is_file() and b"hidden-" in path.read_bytes()]
    assert (shown, "hidden-" in str(finished)) == ([], False)


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


#: What a stranger owns, has made a link of, or may write, by the owner of the path, a group, or everybody.
INTRUSIONS = (
    *(f".env {how}" for how in ("link", "owner", "group", "others")),
    *("journal.json owner", "site link", ".releaser owner", "outbox others", "venv owner", "python group"),
    *(".git group", "config group", "hooks owner", "uv.lock owner", "outer owner", "outer others", "outer sticky"),
    *("program owner", "hook owner", "home owner", "interpreter owner", "wheels owner"),
)
QUESTIONS = ("config", "list", "history", "status", "check", "update --dry-run", "verify")


@pytest.mark.slow
@pytest.mark.parametrize("intrusion", mostly_slow(INTRUSIONS, ".env others", "journal.json owner"))
def test_law_30_31_strangers(make_site: SiteFactory, ordinary_user: Identity | None, intrusion: str) -> None:
    """A path belongs to a stranger, is a stranger's link, or can be written by the stranger's group, or by everyone."""
    require(ordinary_user, "only root can make files of another user")
    site, (name, how), who = make_site.live(due="1.1.0"), intrusion.split(), getattr(ordinary_user, "user", 0)
    git, venv = site.path / ".git", site.link.resolve()
    places = {".env": site.outer, ".releaser": site.outer, "site": site.state.parent, "outer": site.outer.parent}
    places |= {
        "shop": site.outer,
        "program": site.outer,
        ".git": site.path,
        "uv.lock": site.path,
        "venv": venv.parent,
        "bin": venv,
    }
    places |= dict.fromkeys(("config", "hooks", "info"), git) | {"python": venv / "bin", "manifest.json": venv.parent}
    places |= dict.fromkeys(("program", "hook", "interpreter", "wheels"), site.outer) | {"home": site.base}
    path = places.get(name, site.state) / name
    path = site.path if name == "shop" else path
    for directory in (git / "hooks", git / "info", site.state / "outbox"):
        directory.mkdir(exist_ok=True)
    site.write_dotenv(uv="../program", after_live="../hook", python="../interpreter")
    if name == "wheels":
        path.mkdir()
        with (site.path / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write('\n[[tool.uv.index]]\nurl = "../wheels"\nformat = "flat"\n')
    for program in ("../program", "../hook", "../interpreter"):
        site.edit(program, f"#!/bin/sh\ntouch {site.base}/evil\n").chmod(0o755)
    if name == "journal.json":
        path.write_text('{"phase": "building", "command": "update", "run": "20260101T000000Z"}', encoding="utf-8")
    if name == "python":
        path.rename(venv / "bin" / "python-of-host")
        shutil.copy(Path(venv / "bin" / "python-of-host").resolve(), path)
    if how == "link":
        path.symlink_to(path.rename(site.base / "moved"))
    os.chown(path, who if how in ("link", "owner") else -1, who if how == "group" else -1, follow_symlinks=False)
    path.chmod(path.stat().st_mode | {"group": 0o020, "others": 0o002, "sticky": 0o1777}.get(how, 0))
    before = site.snapshot()
    for command in (*QUESTIONS, "update", "rollback", "prune", "uninstall"):
        finished = site.releaser(command)
        assert not (site.base / "evil").exists(), f"{command} ran a program\n{finished}"
        assert finished.returncode == 3, str(finished)
        says(finished, path.name)
    assert site.snapshot() == before


def test_law_30_root_runs_nothing_below_a_directory_that_a_stranger_prepared(
    make_site: SiteFactory, ordinary_user: Identity | None
) -> None:
    require(ordinary_user, "only root can make files of another user")
    assert ordinary_user is not None
    site = make_site()
    place = site.base / "tmp"
    below = place / "mine"
    below.mkdir(parents=True)
    (place / ".git").mkdir()
    (place / "program").write_text(f"#!/bin/sh\ntouch {site.base}/evil\n", encoding="utf-8")
    (place / "pyproject.toml").write_text(f'[tool.releaser]\nuv = "{place}/program"\n', encoding="utf-8")
    ordinary_user.own(place / "program", place / "pyproject.toml", place / ".git")
    (place / "program").chmod(0o755)
    place.chmod(0o1777)
    for command in QUESTIONS:
        says(site.releaser(command, project=below, check=3), str(place))
    assert not (site.base / "evil").exists()


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


@pytest.mark.parametrize("user", mostly_slow(["ada:SECRET%40", "SECRET:", "SECRET"], "SECRET"))
def test_law_29_a_password_in_the_url_of_a_remote_still_opens_it(make_site: SiteFactory, user: str) -> None:
    """One of the clones is a partial one: it fetches the files of a commit when they are written."""
    site, seen, user = make_site.live(), set[bytes](), user.replace("SECRET", SECRET)
    wanted = unquote(user) if ":" in user else f"{user}:"
    wanted = "Basic " + base64.b64encode(wanted.encode()).decode()
    site.write_dotenv(git_push="off")
    commit = site.push_from_elsewhere({"notes.txt": "pulled"})
    if user == f"{SECRET}:":
        site.git("config", "uploadpack.allowFilter", "true", cwd=site.remote)
        site.git("fetch", "--quiet", "--filter=blob:none")
    with git_server(site.remote, wanted, lambda: note_processes(seen)) as port:
        site.git("remote", "set-url", "origin", f"http://{user}@127.0.0.1:{port}/")
        site.releaser("update", check=0)
    assert (site.head(), SECRET in repr(seen)) == (commit, False)
    assert len(seen) > 3


#: Directories that cannot be the state of a site, by `state_dir`, and what is said.
WRONG_STATES = {
    "..": "holds",
    ".": "holds",
    ".git/x": "lies in",
    "../data": "thesis.txt",
    "../.releaser/site": "that of",
}


@pytest.mark.slow
@pytest.mark.parametrize("state", mostly_slow(WRONG_STATES, ".."))
def test_law_30_what_is_no_state_directory_of_the_site_is_not_touched(make_site: SiteFactory, state: str) -> None:
    is_taken = state.endswith("site")
    site = make_site.live() if is_taken else make_site()
    other = site.second_host() if is_taken else site
    for name in ("logs", "cache", "shadow-puppets"):
        (site.outer / "data" / name).mkdir(parents=True)
    for name in ("thesis.txt", ".thesis.new", "reserve"):
        (site.outer / "data" / name).write_text("mine", encoding="utf-8")
    other.write_dotenv(state_dir=str(site.state) if is_taken else state)
    before = times_of_tree(site.outer)
    for command in ("check", "init", "update", "rollback", "prune", "uninstall"):
        says(other.releaser(command, check=3), WRONG_STATES[state])
    assert times_of_tree(site.outer) == before


@pytest.mark.slow
def test_law_34_no_commit_and_no_link_reaches_through_the_state_directory(make_site: SiteFactory) -> None:
    site = make_site(dotenv={"RELEASER_STATE_DIR": ".state"})
    site.releaser("init", check=0)
    letters = site.base / "letters"
    (letters / "new").mkdir(parents=True)
    (letters / "new" / "1.private").write_text("Subject: private\n\n", encoding="utf-8")
    clone, live = site.elsewhere(), site.head()
    (clone / ".state").mkdir()
    (clone / ".state" / "outbox").symlink_to(letters)
    for words in ("add --all --force", "commit --quiet --message Link", "push --quiet"):
        site.git(*words.split(), cwd=clone)
    says(site.releaser("update", check=3), ".state/outbox")
    assert (site.head(), (letters / "new" / "1.private").exists()) == (live, True)
    (site.path / ".state" / "outbox").symlink_to(letters)
    says(site.releaser("update", check=3), ".state/outbox", "link")
    assert (letters / "new" / "1.private").exists()


#: The name of a stranger's file, and what tests print: a hint, a line of the log, a title of the terminal.
FORGED = "x\n  hint: Run `rm -r /`.\n2026-01-01 00:00:00,000 INFO releaser: step forged\r\x1b]0;title\x07\x9b\u202e"
FORGED_LINE = re.compile(r"^\s*(hint: Run `rm|2026-01-01)|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", re.MULTILINE)


@pytest.mark.slow
def test_law_28_names_and_outputs_of_others_forge_nothing(make_site: SiteFactory) -> None:
    """A directory that is too large to copy, with a name that is not UTF-8 either, and the output of tests."""
    site, name = make_site.live(files={"forged": FORGED}), f"media {FORGED}\udce9".replace("/", "")
    (site.outer / name).mkdir()
    for number in range(2001):
        (site.outer / name / str(number)).touch()
    tests = (site.path / "site_tests.py").read_text("utf-8") + "\nprint(open('forged', newline='').read())\n"
    site.push_from_elsewhere({"site_tests.py": tests})
    printed = [*map(str, (site.releaser("check", check=0), site.releaser("check", "--json", check=0)))]
    assert "media x\\n" in printed[0]
    assert "media x\\n" in printed[1]
    printed += [str(site.releaser("update", "--json", check=0)), str(site.releaser("update", "-v", check=0))]
    printed += [str(site.releaser(*words, check=0)) for words in (("logs",), ("show", "live"), ("status", "--json"))]
    printed += [path.read_text("utf-8") for path in (site.state / "logs").glob("*.log")]
    printed += [
        re.sub(r"^", "| ", path.read_text("utf-8"), flags=re.M) for path in site.state.glob("releases/*/tests.log")
    ]
    assert sum("title" in text for text in printed) > 4
    assert [text for text in printed if FORGED_LINE.search(text)] == []


def test_law_29_check_names_an_environment_file_that_every_user_may_read(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.write_dotenv({"RELEASER_SMTP_PASSWORD": SECRET})
    dotenv = site.outer / ".env"
    dotenv.chmod(0o644)
    says(site.releaser("check", check=0), f"chmod o-r {dotenv}")
    dotenv.chmod(0o640)
    assert "chmod" not in site.releaser("check", check=0).stderr


@pytest.mark.parametrize(
    "setting",
    mostly_slow(
        ["restart_file ../../evil.txt", "restart_file .git/shallow", "restart_file ~/evil.txt",
         "requirements_export ../../evil.txt", "requirements_export config/../../../evil.txt"],
        "restart_file ../../evil.txt",
    ),
)  # fmt: skip
def test_law_34_settings_of_a_pushed_commit_name_no_file_outside(make_site: SiteFactory, setting: str) -> None:
    site, (name, path) = make_site.live(due="1.1.0"), setting.split()
    text = (site.path / "pyproject.toml").read_text("utf-8")
    site.push_from_elsewhere({"pyproject.toml": f'{text}\n[tool.releaser]\n{name} = "{path}"\n'})
    says(refused(site, "update"), name)
    assert not (site.base / "evil.txt").exists()
    assert not (site.path / ".git" / "shallow").exists()


@pytest.mark.slow
def test_law_34_a_restart_file_behind_a_pushed_link_is_not_touched(make_site: SiteFactory) -> None:
    site = make_site.live()
    clone = site.elsewhere()
    (clone / "up").symlink_to(".git")
    with (clone / "pyproject.toml").open("a") as file:
        file.write('\n[tool.releaser]\nrestart_file = "up/index.lock"\n')
    site.git("add", ".", cwd=clone)
    site.git("commit", "--quiet", "--message", "Restart", cwd=clone)
    site.git("push", "--quiet", cwd=clone)
    first = site.live()
    says(site.releaser("update", check=6), "by a link", "rolled back")
    assert (site.live(), (site.path / ".git/index.lock").exists()) == (first, False)


def test_law_30_no_program_is_taken_from_a_directory_that_others_can_write(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    evil = site.base / "for all"
    evil.mkdir()
    for name in ("git", "uv", "unshare", "cp", "sh", "python", "true"):
        (evil / name).write_text(f"#!/bin/sh\ntouch {site.base}/ran\nexit 1\n", "utf-8")
        (evil / name).chmod(0o755)
    evil.chmod(0o1777)
    env = {"PATH": f"{evil}:.:{site.env['PATH']}", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.bare"}
    env |= {"GIT_CONFIG_VALUE_0": "true"}
    finished = site.releaser("check", check=0, env=env)
    says(finished, f"PATH is used without `{evil}`, `.`", "`GIT_CONFIG_COUNT` are not used", "git config --global")
    site.releaser("update", check=0, env=env)
    assert (site.version("alpha"), (site.base / "ran").exists()) == ("1.1.0", False)


@pytest.mark.slow
def test_law_33_ssh_reads_its_configuration_in_a_namespace(
    make_site: SiteFactory, ordinary_user: Identity | None
) -> None:
    """Git dependencies are installed there; ssh refuses to include files of a user that it does not know."""
    directory = Path("/etc/ssh/ssh_config.d")
    require(ordinary_user and directory.is_dir() and shutil.which("ssh"), "only root can configure ssh")
    file, daemon = directory / f"releaser-{os.getpid()}.conf", pwd.getpwnam("daemon")  # ssh wants a user with a name
    user = Identity(user=daemon.pw_uid, group=daemon.pw_gid, programs=getattr(ordinary_user, "programs", Path()))
    tests = "\nimport subprocess\nassert b'port 2345\\n' in subprocess.check_output(['ssh', '-G', 'shop.invalid'])\n"
    with user_directory() as base, contextlib.ExitStack() as stack:
        site = make_site.of_user(user, base)
        text = (site.path / "site_tests.py").read_text("utf-8")
        site.push_from_elsewhere({"site_tests.py": text + tests})
        stack.callback(file.unlink)
        file.write_text("Host shop.invalid\n  Port 2345\n", "utf-8")
        site.releaser("update", check=0)
