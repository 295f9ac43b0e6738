"""The quick way answers as the full command line does, and imports next to nothing."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from releaser import __version__, quick
from releaser.releases.cost import measure
from releaser.releases.disk_use import note
from releaser.releases.store import ReleaseStore
from tests.releases.makers import NOW, a_manifest, built, live
from tests.support.commands import Finished, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.spawns

# Each of these costs as much as all that is really needed.
SLOW = {
    "argparse", "asyncio", "click", "concurrent.futures", "ctypes", "dataclasses", "dotenv", "email", "filelock",
    "http", "importlib.metadata", "inspect", "jinja2", "logging", "packaging", "pathlib", "rich", "shutil", "socket",
    "subprocess", "tempfile", "tomllib", "typing", "urllib", "uuid",
}  # fmt: skip
QUICK = "import sys; from releaser.__main__ import main; main(); print(*sorted(sys.modules), file=sys.stderr)"
FULL = "from releaser.cli import cli; cli()"
# Two processes, one after the other, would tell an age before and after it changes.
AT_ONE_MOMENT = f"import time; time.time = lambda: {NOW.timestamp()} + 3 * 86400; "
NOTHING = "import sys; print(*sorted(sys.modules), file=sys.stderr)"


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
    failed = built(store, 3, tests="failed")
    note(store, failed.id, measure(failed.directory))
    store.record(lambda ledger: ledger.pinned(a_manifest(1).id, on=True))
    return root


def call(code: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> Finished:
    environ = {name: value for name, value in os.environ.items() if name.startswith(("COV", "LC_", "PATH"))}
    return run([sys.executable, "-c", code, *arguments], cwd=cwd, env={**environ, **(env or {})})


@pytest.mark.parametrize("arguments", [["--version"], ["list", "--json"], ["list"]])
def test_hardly_anything_is_imported(site: Path, arguments: list[str]) -> None:
    quickly = call(QUICK, *arguments, cwd=site)
    assert (quickly.returncode, bool(quickly.stdout)) == (0, True), quickly
    baseline = set(call(NOTHING, cwd=site).stderr.split())
    imported = set(quickly.stderr.split()) - baseline
    assert imported & SLOW == set()
    assert not any(name.startswith("releaser.") for name in imported & {"releaser.cli", "releaser.console"})
    assert len(imported) < 45, sorted(imported)


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--version"], {}),
        (["list"], {}),
        (["list", "--json"], {}),
        (["list", "--json", "--project", "."], {}),
        (["list", "--project=../site"], {}),
        (["list", "--project", "../link", "--json"], {}),
        (["list", "--json"], {"RELEASER_PROJECT": "../site"}),
        (["list", "--json", "--project", ".."], {}),
        (["list", "--json", "--project", "gone"], {}),
        (["list", "--project"], {}),
        (["list", "--project="], {}),
        (["list", "-v"], {}),
        (["list", "--help"], {}),
        (["list", "more"], {}),
        (["list", "--json"], {"RELEASER_STATE_DIR": "../.releaser/site"}),
        (["list", "--json"], {"RELEASER_STATE_DIR": "nothing"}),
        (["list"], {"RELEASER_STATE_DIR": "nothing"}),
        (["list", "--json"], {"RELEASER_STATE_DIR": "~/x", "HOME": "/nowhere"}),
        (["list", "--json"], {"RELEASER_VENV": "env"}),
        (["list", "--json"], {"RELEASER_VENV": " .venv "}),
        (["list", "--json", "--project", "~/outer/site"], {"HOME": "{base}"}),
    ],
)
def test_the_answer_is_that_of_the_full_command_line(site: Path, arguments: list[str], env: dict[str, str]) -> None:
    (site.parent / "link").symlink_to(site)
    env = {name: value.format(base=site.parent.parent) for name, value in env.items()}
    quickly, full = (call(AT_ONE_MOMENT + code, *arguments, cwd=site, env=env) for code in (QUICK, FULL))
    assert quickly.stdout == full.stdout
    assert quickly.returncode == full.returncode


def test_the_list_is_what_it_should_be(site: Path) -> None:
    rows = json.loads(call(QUICK, "list", "--json", cwd=site).stdout)
    assert [(row["id"], row["state"], row["pinned"]) for row in rows] == [
        (a_manifest(3).id, "failed", False),
        (a_manifest(2).id, "live", False),
        (a_manifest(1).id, "good", True),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-h"],
        ["--version", "--json"],
        ["update"],
        ["status"],
        ["list", "--quiet"],
        ["list", "--json", "--dry-run"],
        ["list", "--project"],
        ["list", "--project", "~/site"],
        ["list", "--project", "/nowhere"],
    ],
)
def test_everything_else_is_left_to_the_full_command_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert quick.answer(arguments) is False
    assert capsys.readouterr().out == ""


def test_the_version_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert quick.answer(["--version"]) is True
    assert capsys.readouterr().out == f"releaser {__version__}\n"


def test_people_at_a_terminal_get_the_full_table(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert quick.answer(["list", "--project", str(site)]) is False
