"""Bad input of every kind: each is refused by name with a way out, changes nothing, and is the same as JSON."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.scenes import mostly_slow, says
from tests.support import trees
from tests.support.commands import Finished, releaser_command, require, run
from tests.support.sites import SampleSite, SiteOptions, Templates

Act = Callable[[SampleSite], object]
SECRET = "hunter2-of-the-mail-server"
OF_GIT = re.compile(r"\.git/(?!HEAD|MERGE_HEAD|refs/heads|config$|index$)")  # a fetch may write the rest
LOCK_OF_ALPHA = '[[package]]\nname = "alpha"\n'


@dataclass(frozen=True)
class Row:
    """What a person did, and the words that must be on stderr; the command, its exit code and its surroundings.

    `before` are words of a shell before the command, `project` replaces the path of the project.
    """

    act: Act
    words: tuple[str, ...]
    command: str = "update"
    code: int = 3
    env: Mapping[str, str | None] = field(default_factory=dict)
    before: str = ""
    project: str | None = ""


def nothing(site: SampleSite) -> None:
    """Leave the site as it is: the command is what is wrong."""


def all_of(*acts: Act) -> Act:
    """Return several acts as one."""
    return lambda site: [act(site) for act in acts]


def dotenv(line: str) -> Act:
    """Return the act of writing a setting into `.env`, as `name=value`."""
    return lambda site: site.write_dotenv(dict([line.split("=", 1)]))


def file(name: str, content: bytes) -> Act:
    """Return the act of replacing a file of the checkout."""
    return lambda site: (site.path / name).write_bytes(content)


def toml(old: str, new: str) -> Act:
    """Return the act of replacing text in pyproject.toml; without `old`, it is added at the end."""
    return lambda site: site.replace("pyproject.toml", old, new) if old else append(site, "pyproject.toml", new)


def append(site: SampleSite, name: str, text: str) -> None:
    with (site.path / name).open("a", encoding="utf-8") as opened:
        opened.write(text)


def gone(name: str, then: Callable[[Path], object] = lambda path: None) -> Act:
    """Return the act of moving a path of the checkout away, and putting something else in its place."""

    def act(site: SampleSite) -> None:
        path = Path(os.path.abspath(site.path / name))
        path.rename(site.base / "gone")
        then(path)

    return act


def git(*commands: str) -> Act:
    """Return the act of calling git several times; a merge or rebase may end with 1."""
    return lambda site: [site.run("git", *command.split(), check=None) for command in commands]


def work(site: SampleSite) -> None:
    """Commit on a branch `mine`, in conflict with main."""
    git("switch -qc mine")(site)
    site.commit("Mine", {"shop.py": "BROKEN = None\n"})
    git("switch -q main")(site)
    site.commit("Main", {"shop.py": "BROKEN = 0\n"})


def commit(act: Act) -> Act:
    """Return the act, with what it changes committed and pushed."""
    return all_of(act, lambda site: site.commit("Bad"), SampleSite.push)


def make_link(text: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(text)


WINDOWS = "[tool.uv]\nenvironments = [\"sys_platform == 'win32'\"]\n"
UNPRIVILEGED = "setpriv --bounding-set=-dac_override,-dac_read_search --" if os.geteuid() == 0 else ""

#: Settings with a value that they cannot have. Some are found only by uv or a shell.
VALUES = {
    "keep=-1": 3, "keep_within=30 moons": 3, "git_push=perhaps": 3, "upgrade=some": 3, "environment=prod": 3,
    "test_command='open": 3, "test_timeout=-3s": 3, "group=nobody": 3, "uv=/nowhere/uv": 3, "extras=nobody": 3,
    "restart_file=nowhere/restart.txt": 3, "unix_group=no-such-group": 3, "test_environment=A:B": 3,
    "restart=no-such-program --now": 3, "venv=../elsewhere/venv": 3, "state_dir=/proc/nowhere": 3, "branch=nowhere": 3,
    "members=nobody": 4, "python=3.99": 4, "test_command=no-such-program": 5,
}  # fmt: skip


def wrong_value(setting: str, code: int) -> Row:
    """Return the row for a value: setting and value are named."""
    name, _, value = setting.partition("=")
    shown = "" if name == "test_environment" else value.split(" ")[0].strip("'")  # it may be a secret
    update = dotenv(f"RELEASER_{name.upper()}={value}")
    due: Act = (lambda site: site.publish("alpha", "1.4.0")) if code > 3 else nothing
    return Row(all_of(update, due), (shown, name if code == 3 else ""), code=code)


ROWS: dict[str, Row] = {
    # Settings
    **{setting: wrong_value(setting, code) for setting, code in VALUES.items()},
    "misspelt in .env": Row(dotenv("RELEASER_KEEPP=5"), (".env: `RELEASER_KEEPP`", "Did you mean `RELEASER_KEEP`?")),
    "misspelt in pyproject": Row(toml("", '[tool.releaser]\nhelth_check = "x"'), ("pyproject.toml: `helth_check`",
        "Did you mean `health_check`?")),
    "misspelt in the environment": Row(nothing, ("the environment: `RELEASER_GIT_PUSSH`", "`RELEASER_GIT_PUSH`?"),
        env={"RELEASER_GIT_PUSSH": "on"}),
    "in small letters": Row(dotenv("releaser_keep=5"), (".env: `releaser_keep`", "Did you mean `RELEASER_KEEP`?")),
    "like no setting": Row(dotenv("RELEASER_XQZ=5"), ("Remove `RELEASER_XQZ` from .env",)),
    "misspelt value in .env": Row(dotenv("RELEASER_SHADOW=requird"), ("`RELEASER_SHADOW`", "did you mean `required`?")),
    "misspelt value in pyproject": Row(toml("", '[tool.releaser]\nmigrations = "ignor"'), ("`migrations`",
        "did you mean `ignore`?")),
    "misspelt value in the environment": Row(nothing, ("`RELEASER_UPGRADE`", "did you mean `none`?"),
        env={"RELEASER_UPGRADE": "nome"}),
    "wrong type": Row(toml("", "[tool.releaser]\ntest_command = 5"), ("pyproject.toml", "`test_command` is 5")),
    "secret": Row(toml("", f'[tool.releaser]\nsmtp_password = ["{SECRET}"]'), ("`smtp_password` is a secret",)),
    "secret in a table": Row(dotenv(f'RELEASER_TEST_ENVIRONMENT={{"A": "{SECRET}", "B": 5}}'),
        ("RELEASER_TEST_ENVIRONMENT",)),
    "admins": Row(dotenv('ADMINS_JSON=[["Ada"]]'), (".env: `ADMINS_JSON`", '[["Ada", "ada@example.org"]]')),
    "line break in an address": Row(dotenv('ADMINS_JSON=[["Ada", "ada@example.org\\nBcc: eve@example.org"]]'),
        (".env: `ADMINS_JSON`",)),
    # Files
    ".env is closed": Row(lambda site: (site.outer / ".env").chmod(0), (".env: Permission denied", "ls -l"),
        before=UNPRIVILEGED),
    ".env is not UTF-8": Row(file("../.env", b"RELEASER_KEEP=\xff\n"), (".env", "utf-8", "Save it as UTF-8")),
    ".env has NUL": Row(file("../.env", b"A=1\nB=x\0y\n"), ("Line 2 of", "NUL", "nano ")),
    ".env is a directory": Row(gone("../.env", Path.mkdir), (".env` is no file", "mv ")),
    ".env is a pipe": Row(gone("../.env", os.mkfifo), (".env` is no file", "mv ")),
    ".env is open": Row(lambda site: (site.outer / ".env").chmod(0o666), (".env", "chmod go-w")),
    "pyproject.toml is a pipe": Row(gone("pyproject.toml", os.mkfifo), ("pyproject.toml", "--project")),
    "pyproject.toml is missing": Row(gone("pyproject.toml"), ("no pyproject.toml", "--project")),
    "pyproject.toml is not TOML": Row(toml("[project]", "[project"), ("pyproject.toml", "line 1", "Correct")),
    "pyproject.toml is not UTF-8": Row(file("pyproject.toml", b"# \xff"), ("pyproject.toml", "utf-8")),
    "no [project]": Row(toml("[project]", "[projekt]"), ("no `[project]`", "uv init")),
    "no requires-python": Row(toml('requires-python = ">=3.11"\n', ""), ("no `requires-python`", "Add a line")),
    "[tool.releaser] is no table": Row(toml("", "[tool]\nreleaser = 5\n"), ("`tool.releaser` is no table", "Correct")),
    "no lock": Row(commit(lambda site: (site.path / "uv.lock").unlink()), ("uv.lock", "uv lock")),
    "cut lock": Row(commit(file("uv.lock", b"version = 1\n[[pack")), ("uv.lock is not a lock", "uv lock")),
    "lock of something else": Row(commit(file("uv.lock", b'[package]\nname = "alpha"\n')), ("uv.lock is not a lock",)),
    "merged lock": Row(commit(lambda site: site.replace("uv.lock", LOCK_OF_ALPHA, f"<<<<<<< HEAD\n{LOCK_OF_ALPHA}")),
        ("uv.lock is not a lock", "uv lock")),
    "lock is not in git": Row(git("rm -q --cached uv.lock", "commit -qm Bad", "push -q"), ("not in git", "git add")),
    "tests by tox": Row(dotenv("RELEASER_TEST_COMMAND=python -m tox -q"), ("calls tox, whose", "-m pytest")),
    "no tests": Row(commit(lambda site: (site.path / "run_tests.py").unlink()), ("`test_command`",)),
    # The checkout
    "lock of another platform": Row(commit(all_of(toml("[tool.uv]\n", WINDOWS), lambda site: site.uv("lock"))),
        ("supported environments", "Add this platform"), code=4),
    "a venv in git": Row(commit(git("add --force .venv")), ("git has `.venv`", "rm -r --quiet --cached .venv")),
    "an edit": Row(lambda site: append(site, "shop.py", "# mine\n"), ("`shop.py`", "git -C")),
    "a staged file": Row(all_of(file("new.txt", b"mine"), git("add new.txt")), ("`new.txt`",)),
    "a deleted file": Row(lambda site: (site.path / "shop.py").unlink(), ("`shop.py`",)),
    "a deleted lock": Row(lambda site: (site.path / "uv.lock").unlink(), ("git -C", "checkout HEAD -- uv.lock")),
    "an edited lock": Row(lambda site: append(site, "uv.lock", "# mine\n"), ("`uv.lock`", "git -C")),
    "a conflict": Row(all_of(work, git("merge -q mine")), ("`git merge`", "merge --abort")),
    "a merge without changes": Row(all_of(work, git("merge -q --no-commit -s ours mine")), ("`git merge`",)),
    "a rebase": Row(all_of(work, git("rebase -q mine")), ("`git rebase`", "rebase --abort")),
    "another branch": Row(git("switch -qc mine"), ("`mine`", "git switch main")),
    "a detached HEAD": Row(git("switch -q --detach"), ("detached", "git switch main")),
    "no commit": Row(git("update-ref -d HEAD"), ("no commit",)),
    "no upstream": Row(git("branch -q --unset-upstream"), ("no upstream", "git branch -u")),
    "another upstream": Row(git("push -q origin main:v1.2", "branch -q -u origin/v1.2"), ("origin/v1.2", "git branch")),
    "submodules": Row(commit(file(".gitmodules", b"")), ("submodules",)),
    "no git": Row(gone(".git"), ("not in a git repository", "git -C")),
    "a broken .git": Row(gone(".git", lambda path: path.write_text("gitdir: nowhere")), ("git",)),
    "linked refs": Row(gone(".git/refs", make_link("../../../gone")), ("refs` is a link", "git worktree add")),
    ".venv is a file": Row(gone(".venv", Path.touch), (".venv` is ", "releaser rollback ")),
    ".venv leads elsewhere": Row(gone(".venv", make_link("../mine")), ("a link to `../mine`", "releaser rollback ")),
    # Programs
    "uv is no program": Row(all_of(file("../uv", b""), dotenv("RELEASER_UV=../uv")), ("`uv` is `../uv`",)),
    "no git on PATH": Row(nothing, ("`git` could not be started", "installed"), env={"PATH": "/nowhere"}),
    # Names
    "unknown release": Row(nothing, ("`2019`", "releaser list"), "rollback 2019", 9),
    "ambiguous release": Row(nothing, ("`2` could be 2", "releaser list"), "rollback 2", 9),
    "release by number": Row(nothing, ("`@9`", "only 2"), "show @9", 9),
    "path for a release": Row(nothing, ("`../x`",), "pin ../x", 9),
    "unknown run": Row(nothing, ("`2019`", "`releaser history`"), "logs 2019", 9),
    "unknown package": Row(nothing, ("`alhpa`", "Did you mean `alpha`?"), "hold alhpa"),
    "package on no hold": Row(nothing, ("Not on hold: alpha", "releaser status"), "unhold alpha"),
    # Paths
    "project is missing": Row(nothing, ("does not exist", "--project"), project="/nowhere"),
    "project in RELEASER_PROJECT is missing": Row(nothing, ("`/nowhere`", "--project"), project=None,
        env={"RELEASER_PROJECT": "/nowhere"}),
    "project is /": Row(nothing, ("`/` is not in a project", "--project"), project="/"),
    "project is a file": Row(nothing, ("no pyproject.toml",), project="/etc/passwd"),
    "project has a long name": Row(nothing, ("too long",), project="x" * 300),
    "project is closed": Row(lambda site: site.path.chmod(0), ("Permission denied",), before=UNPRIVILEGED),
    "directory is gone": Row(nothing, ("does not exist", "--project"), project=None,
        before="sh -c 'mkdir gone; cd gone; rmdir ../gone; exec \"$@\"' -"),
    "state is a file": Row(gone("../.releaser", Path.touch), (".releaser",)),
    "state is closed": Row(lambda site: site.state.chmod(0o555),
        ("state directory cannot be written", "chown"), before=UNPRIVILEGED),
    # Usage
    "command": Row(nothing, ("'updat'", "Did you mean", "'update'"), "updat", 2),
    "option": Row(nothing, ("--dry-rn", "Did you mean", "--dry-run"), "update --dry-rn", 2),
    "negative time": Row(nothing, ("--wait", "-3"), "update --wait=-3", 2),
    "no name": Row(nothing, ("NAME",), "unhold", 2),
    "too much": Row(nothing, ("unexpected", "previous"), "rollback live previous", 2),
    "program": Row(nothing, ("`nowhere` cannot be started",), "run -- nowhere", 2),
}  # fmt: skip
QUICK = ("keep=-1", "misspelt in .env", ".env is not UTF-8", "merged lock", "a merge without changes",
         "ambiguous release", "project is missing", "command")  # fmt: skip


@pytest.fixture(scope="module")
def shared(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> SampleSite:
    """A site whose next update changes nothing, and a copy of it, `pristine`, from which each row begins."""
    site = templates.live(SiteOptions(), ("1.1.0",)).copy(tmp_path_factory.mktemp("bad") / "site")
    site.write_dotenv()
    shutil.copytree(site.base, site.base.with_name("pristine"), symlinks=True)
    return site


@pytest.fixture
def site(shared: SampleSite) -> SampleSite:
    """The site, with the damage of the earlier row put right."""
    shared.base.chmod(0o755)
    shutil.rmtree(shared.base)
    run(["cp", "-a", shared.base.with_name("pristine"), shared.base], cwd=Path("/"), env=os.environ, check=0)
    return shared


def everything(site: SampleSite) -> dict[str, str]:
    """Fingerprint the outer directory, without the record of runs and what fetching writes; and all releases."""
    seen = trees.tree(site.outer, skip=(".releaser", "index"))
    seen = {name: mark for name, mark in seen.items() if not OF_GIT.search(name)}
    state = site.state if site.state.is_dir() else site.base / "gone" / site.path.name
    seen |= {f"release {path.name}": trees.digest(path) for path in (state / "releases").iterdir()}
    return seen | {name: trees.fingerprint(state / name) for name in ("holds.json", "journal.json")}


@pytest.mark.parametrize("name", mostly_slow(ROWS, *QUICK))
def test_law_14_28_bad_input(site: SampleSite, name: str) -> None:
    row = ROWS[name]
    if row.before.startswith("setpriv"):
        require(shutil.which("setpriv"), "setpriv takes root's privileges away")
    row.act(site)
    before = everything(site)
    finished = call(site, row)
    after = everything(site)
    assert {key: after.get(key) for key in before} == before, str(finished)
    assert row.code > 3 or after.keys() == before.keys(), str(finished)
    says(finished)
    assert not [word for word in row.words if word.lower() not in finished.stderr.lower()], str(finished)
    assert (finished.returncode, SECRET in str(finished)) == (row.code, False), str(finished)
    may_be_silent = row.code == 2 or row.command.startswith(("show", "logs"))  # which only look
    is_said = re.search("live release is unchanged|Nothing was changed", finished.stderr)
    assert may_be_silent or is_said, str(finished)
    answer = json.loads(finished.stdout)
    assert (answer["exit_code"], answer["result"]) == (row.code, "failed" if row.code in (4, 5) else "refused")
    for problem in answer["problems"]:
        assert problem["code"], problem
        assert problem["advice"], problem
        assert row.code == 2 or {problem["message"], problem["advice"]} <= said(finished), str(finished)
    assert answer["problems"]
    assert all(len(line) < 500 for line in finished.stderr.splitlines()), "a message is too long"


def call(site: SampleSite, row: Row) -> Finished:
    """Run the command of a row with --json."""
    command, *arguments = row.command.split()
    project = [] if row.project is None else ["--project", row.project or str(site.path)]
    words = [*releaser_command(), command, "--json", *project, *arguments]
    shell = ["sh", "-c", f'exec {row.before} "$@"', "-"] if row.before else []
    return run([*shell, *words], cwd=site.base, env=site.environment(row.env))


def said(finished: Finished) -> set[str]:
    """Return the lines of stderr without what marks them as problem and hint."""
    return {re.sub(r"^(- |  hint: )", "", line) for line in finished.stderr.splitlines()}


STREAMS = {"closed": ">&- 2>&- <&-", "full": ">/dev/full"}


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMS)
def test_law_28_35_an_update_without_anything_that_a_program_expects(site: SampleSite, name: str) -> None:
    """No standard streams, no HOME, a short PATH, no locale, a umask that closes files, no working directory."""
    site.publish("alpha", "1.2.0")
    shell = f'umask 077; mkdir gone; cd gone; rmdir ../gone; "$@" {STREAMS[name]}'
    env = {"PATH": "/usr/bin:/bin", "LANG": "C"}
    for command in ("list", "list --json", "update --json", "status"):
        words = ["sh", "-c", shell, "-", *releaser_command(), *command.split(), "--project", str(site.path)]
        finished = run(words, cwd=site.base, env=env)
        says(finished)
        is_told = name != "full" or command == "update --json"
        assert finished.returncode == (0 if is_told else 3), f"{command}: {finished}"
        assert name != "full" or ("is live" if is_told else "No space left") in finished.stderr
    assert site.version("alpha") == "1.2.0"
    assert [path.stat().st_mode & 0o777 for path in (site.release(), site.link / "pyvenv.cfg")] == [0o755, 0o444]
