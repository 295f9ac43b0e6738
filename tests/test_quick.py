"""The quick way answers as the full command line does, and imports next to nothing."""

import inspect
import os
import sys
import time
from pathlib import Path

import pytest

from releaser import __version__
from releaser.commands.command import all_commands
from releaser.commands.plain import NotPlainError, load_plain
from releaser.releases.store import ReleaseStore
from releaser.site.location import LOOKED
from releaser.site.project import Project
from releaser.site.state_dir import claim
from tests.releases.makers import NOW, a_manifest, built, live
from tests.support.commands import Finished, run

pytestmark = pytest.mark.spawns

# Each of these costs as much as much of what is really needed.
SLOW = {
    "argparse", "asyncio", "click", "concurrent.futures", "ctypes", "dotenv", "email", "filelock", "http",
    "importlib.metadata", "jinja2", "logging", "packaging", "rich", "shutil", "socket", "subprocess", "tempfile",
    "tomli",
}  # fmt: skip
# A list needs most of what describes a site, but none of these.
NOT_FOR_LIST = {
    "argparse", "asyncio", "base64", "click", "concurrent.futures", "csv", "ctypes", "dataclasses", "dotenv", "email",
    "filelock", "hashlib", "http", "inspect", "jinja2", "logging", "msgspec", "packaging", "rich", "shutil", "socket",
    "subprocess", "tempfile", "threading", "uuid",
}  # fmt: skip
MOST_FOR_LIST = 95  # modules of releaser, of some 400
QUICK = "import sys; from releaser.__main__ import main; main(); print(*sorted(sys.modules), file=sys.stderr)"
FULL = "from releaser.commands.command import cli; cli()"
# Two processes, one after the other, would tell an age before and after it changes.
AT_ONE_MOMENT = f"import time; time.time = lambda: {NOW.timestamp()} + 3 * 86400; "
# In place of becoming a program, which would tell nothing of what was imported for that.
STAYING = "import os, sys; os.execvpe = lambda *_: sys.exit(print(*sorted(sys.modules), file=sys.stderr)); "


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Make a project with releases that have no more than the list needs."""
    root = tmp_path.resolve() / "outer" / "site"
    root.mkdir(parents=True)
    (root / "pyproject.toml").write_text("[project]\nname = 'site'\n", encoding="utf-8")
    store = ReleaseStore(state_dir=root.parent / ".releaser" / "site", link=root / ".venv")
    store.state_dir.mkdir(parents=True)
    for number in (1, 2):
        live(store, number)
    built(store, 3, tests="failed")
    store.pin(store.find(a_manifest(1).id), on=True)
    claim(Project.at(root, state_dir=None, venv=".venv"))
    return root


def call(code: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> Finished:
    environ = {name: value for name, value in os.environ.items() if name.startswith(("COV", "LC_", "PATH"))}
    return run([sys.executable, "-c", code, *arguments], cwd=cwd, env={**environ, **(env or {})})


def test_hardly_anything_is_imported_to_start_a_program(site: Path) -> None:
    (site.parent / ".releaser" / "site" / "run").mkdir()
    (site.parent / ".releaser" / "site" / LOOKED).write_text(f"{int(time.time())} {int(time.time()) + 600}\n")
    for words in (["run", "true"], ["exec", "--refresh", "daily", "--wait", "1s", "--", "true"]):
        imported = set(call(STAYING + QUICK, *words, cwd=site).stderr.split())
        assert "releaser.launch" in imported
        assert imported & {*SLOW, "dataclasses", "datetime", "pathlib", "typing", "select"} == set()


@pytest.mark.spread(6)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["exec", "--project", "..", "--", "true"], {}),
        (["exec", "--project", "../link", "sh", "-c", "env; pwd"], {}),
        (["exec", "--wait", "1s", "--json", "--", "true"], {}),
        (["run", "--", "env"], {"UV_INDEX": "else", "UV_CACHE_DIR": "here", "GIT_DIR": "there", "VIRTUAL_ENV": "x"}),
        (["run", "sh", "-c", "exit 42"], {}),
        (["run", "--", "env"], {"TOML": "environment_file = '../given'"}),
        (["run", "--", "env"], {"TOML": "venv = 'current'"}),
        (["run", "no-such-program"], {}),
        (["run", "sh", "-ec", "echo $0", "--version"], {}),
        (["run", "echo", "one", "--", "two"], {}),
        (["run", "echo", "-qx", "--project=.", "-n", "--json"], {}),
        (["--version"], {}),
        (["list"], {}),
        (["list"], {"TOML": "nonsense = 1"}),
        (["list"], {"TOML": "venv = 'current'"}),
        (["list"], {"RELEASER_PROJECT": "../link"}),
        (["list"], {"RELEASER_PROJECT": "../nowhere"}),
        (["list"], {"RELEASER_PROJECT": ""}),
        (["list", "--json", "--project", "../link"], {"RELEASER_PROJECT": "../nowhere"}),
        (["list", "--json", "--sites"], {}),
        (["list", "-v", "-q"], {}),
        (["list", "--projekt", "."], {}),
        (["status", "--nagios", "--project", ".."], {}),
        (["status", "--warning"], {}),
        (["status", "--nagios", "--critical", "soon"], {}),
        (["update", "--json", "--if-due", "--now"], {}),
        (["update", "--dry-run", "--project", "../nowhere"], {}),
        (["update", "--wait", "long"], {}),
    ],
)
def test_the_answer_is_that_of_the_full_command_line(site: Path, arguments: list[str], env: dict[str, str]) -> None:
    (site.parent / "link").symlink_to(site)
    (site.parent / "given").write_text("GIVEN=1\n", encoding="utf-8")
    with (site / "pyproject.toml").open("a", encoding="utf-8") as pyproject:
        pyproject.write(f"[tool.releaser]\n{env['TOML']}\n" if "TOML" in env else "")
    quickly, full = (call(AT_ONE_MOMENT + code, *arguments, cwd=site, env=env) for code in (QUICK, FULL))
    assert quickly.stdout == full.stdout
    assert quickly.returncode == full.returncode
    if arguments == ["list"]:
        assert quickly.stderr.startswith(full.stderr)  # the names of the modules may follow


@pytest.mark.parametrize(
    ("command", "words", "is_plain"),
    [
        ("update", [], True),
        ("update", ["--quiet", "--if-due"], True),
        ("update", ["--project", "{site}", "-v", "--wait", "60", "--force", "--follow-remote", "--now"], True),
        ("update", ["--json", "--dry-run"], True),
        ("update", ["--project", "{site}/nowhere"], False),
        ("update", ["--project="], False),
        ("update", ["--wait", "-1"], False),
        ("update", ["--wait"], False),
        ("update", ["-q", "-q"], False),
        ("update", ["-qv"], False),
        ("update", ["alpha"], False),
        ("update", ["--tests-only"], False),
        ("update", ["--all"], False),
        ("update", ["--help"], False),
        ("list", ["--json"], True),
        ("list", ["--wait", "60"], False),
        ("status", ["--nagios", "--warning", "36h", "--critical", "7d"], True),
        ("status", ["--textfile", "metrics"], False),
        ("status", ["--warning", "--nagios"], False),
    ],
)
def test_plain_options_are_read_as_click_reads_them(site: Path, command: str, words: list[str], is_plain: bool) -> None:
    words = [word.format(site=site) for word in words]
    plain = load_plain(command)
    if not is_plain:
        with pytest.raises(NotPlainError):
            plain.read(words)
        return
    found = plain.read(words)
    read = all_commands()[command].make_context(command, list(words)).params
    assert {name: read[name] for name in found} == found
    signature = inspect.signature(plain.function)
    kept = {"wait": 0.0, **dict.fromkeys(("as_json", "verbose", "quiet", "dry_run"), False), "project": Path()}
    defaults = {name: one.default for name, one in signature.parameters.items() if name not in ("ctx", "given")}
    for name in read.keys() & {*kept, *defaults} - found.keys():
        assert read[name] == {**kept, **defaults}[name]


def test_the_variable_with_the_project_is_read_as_click_reads_it(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (site, "", site / "nowhere"):
        monkeypatch.setenv("RELEASER_PROJECT", str(place))
        read = all_commands()["update"].make_context("update", []).params["project"]
        try:
            found = load_plain("update").read([]).get("project", Path())
        except NotPlainError:
            assert place == site / "nowhere"
        else:
            assert found == read


def test_a_list_without_options_needs_no_command_line(site: Path) -> None:
    (site.parent / ".env").write_text("# of the site\nDEBUG=1\nADMINS='ada@example.org'\n", encoding="utf-8")
    finished = call(QUICK, "list", cwd=site)
    assert finished.returncode == 0
    assert a_manifest(2).id in finished.stdout
    imported = set(finished.stderr.split())
    assert "releaser.commands.listed" in imported  # else nothing was printed, as the command line exits
    assert imported & NOT_FOR_LIST == set()
    assert len([name for name in imported if name.startswith("releaser.")]) <= MOST_FOR_LIST


@pytest.mark.parametrize(
    ("stream", "words", "env"), [(1, ["list"], {"PYTHONUNBUFFERED": "1"}), (2, ["list", "-v", "-q"], {})]
)
def test_a_reader_may_stop_reading(site: Path, stream: int, words: list[str], env: dict[str, str]) -> None:
    unread = f"import os; reading, writing = os.pipe(); os.close(reading); os.dup2(writing, {stream}); "
    finished = call(unread + QUICK, *words, cwd=site, env=env)
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr


def test_the_version_is_said_without_anything_else(site: Path) -> None:
    finished = call(QUICK, "--version", cwd=site)
    assert finished.stdout == f"releaser {__version__}\n"
    imported = {name for name in finished.stderr.split() if name.startswith("releaser")}
    assert imported == {"releaser", "releaser.__main__"}


@pytest.mark.parametrize("words", [["list", "--json"], ["status", "--json"], ["config", "--json"], ["--version"]])
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(site: Path, words: list[str], closed: str) -> None:
    call = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "releaser", *words]
    done = run(call, cwd=site, env=dict(os.environ))
    assert (done.returncode, done.stderr) == (0, "")
