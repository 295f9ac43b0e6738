"""When a start looks for updates: what is noted of the last look, and what is done with it."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from releaser import launch
from releaser.site.location import LOOKED

DAY = 86400.0


@pytest.mark.parametrize(
    ("note", "due"),
    [
        ("-60 +3540", False),
        ("-7200 -3600", True),
        ("-7200 +80000", False),
        ("-90000 +500000", True),  # noted by a start that looks once a week
        ("+60 +3660", True),  # the clock was set back
        ("-60", True),
        ("nonsense at all", True),
        ("", True),
        ("nan nan", True),
    ],
)
def test_the_note_of_the_last_look_says_whether_to_look(note: str, due: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.9)
    words = [str(1_000_000 + int(word)) if word.lstrip("+-").isdigit() else word for word in note.split()]
    assert launch._is_due(" ".join(words).encode(), DAY) is due


def test_what_is_noted_does_not_lie_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.9)
    descriptor = os.open(tmp_path / "looked", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"something longer that was there before\n")
    launch._note(descriptor, 3600)
    assert not launch._is_due(os.pread(descriptor, 100, 0), DAY)
    launch._note(descriptor, DAY, due_at="1970-01-12T14:00:00+00:00")
    assert os.pread(descriptor, 100, 0) == b"1000000 1000800\n"
    os.close(descriptor)


@pytest.mark.parametrize(
    ("pyproject", "env", "plain"),
    [
        ("[tool.flake8]\nexclude = ['.venv', '\\.git']\n[tool.releaser]\nevery = 'daily'\n", "", True),
        ('name = "releaser \\u0065nv"\n[tool.x]\nvenv = "src\\\\venv.py"\n', "", True),
        ('[tool.pyright]\nvenv = ".venv"\n[tool.releaser]\nevery = "daily"\n', "", True),
        ('[tool.releaser]\nstaging_copy = [\n"venv",\n]\n# no venv\n', "", True),
        ('[tool.releaser]\nevery = """\n[tool.x]\n"""\nvenv = "env"\n', "", False),
        ("[tool.x]\n  [tool.releaser]\nvenv = 'env'\n", "", False),
        ("[tool.x]\n[tool]\nreleaser = {groups = [\n'x'], venv = 'env'}\n", "", False),
        ("[tool.releaser]\nvenv = 'env'\n", "", False),
        ("tool.releaser.venv = 'env'\n", "", False),
        ('[tool."r\\u0065leaser"]\n"v\\U00000065nv" = "env"\n', "", False),
        ("releaser venv\n", "", False),
        ("tool = 'releaser venv'\n", "", False),
        ("[tool]\nreleaser = 1\nvenv = 2\n", "", False),
        ("", "PATTERN='\\d'\nNOTE=RELEASER_VENV\n# RELEASER_VENV=env\n", True),
        ("", "A='\\d'\r\n export RELEASER_VENV = env\n", False),
        ("", "'RELEASER_VENV'=env\n", False),
    ],
)
def test_only_what_sets_a_setting_makes_a_start_slow(tmp_path: Path, pyproject: str, env: str, plain: bool) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "pyproject.toml").write_text(pyproject)
    (tmp_path / ".env").write_text(env)
    assert launch.is_plain(str(tmp_path / "site"), "state_dir", "venv") is plain


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> launch.Place:
    """Make a site whose update is done at once, without an update."""

    def update(_: object, every: float, lock: int, *, anyway: bool) -> int:
        del anyway
        launch._note(lock, every)
        reading, writing = os.pipe()
        os.close(writing)
        return reading

    monkeypatch.setattr(launch, "_start_update", update)
    monkeypatch.setattr(launch, "GUARD", "TEST_LOOKED")
    monkeypatch.delenv("TEST_LOOKED", raising=False)
    (tmp_path / "run").mkdir()
    return launch.Place(str(tmp_path), str(tmp_path), str(tmp_path / ".venv"), {})


def test_a_start_that_has_not_had_to_look_may_look_later_and_once(place: launch.Place) -> None:
    assert launch.look(place, DAY, 1) == ""
    os.environ.pop("TEST_LOOKED")
    assert launch.look(place, DAY, 1) == ""  # as that is not due
    assert "TEST_LOOKED" not in os.environ
    assert launch.look(place, -1, 1, say=False) == ""
    assert launch.look(place, -1, 1, say=False) == "this start has already checked for updates"


def test_who_requires_something_waits_for_the_look_of_another(
    place: launch.Place, capsys: pytest.CaptureFixture[str]
) -> None:
    other = os.open(f"{place.state_dir}/{LOOKED}", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    began = time.monotonic()
    assert launch.look(place, DAY, 30) == ""
    assert time.monotonic() - began < 10
    assert launch.look(place, DAY, 0.2, say=False) == "another program is still checking for updates after 0.2 s"

    def end() -> None:
        launch._note(other, DAY)
        os.close(other)

    ended = threading.Timer(0.5, end)
    ended.start()
    assert launch.look(place, DAY, 30, say=False) == ""
    ended.join()
    assert "TEST_LOOKED" not in os.environ
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("every", "next_at"), [(DAY, 1_000_600), (60.0, 1_000_060)])
def test_the_next_start_does_not_look_again_at_once_in_a_pause_without_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: float, next_at: int
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.9)
    descriptor = os.open(tmp_path / "looked", os.O_RDWR | os.O_CREAT)
    launch._note(descriptor, every, due_at="1970-01-12T13:46:39+00:00")  # when the run began, as no other time is known
    assert os.pread(descriptor, 100, 0) == b"1000000 %d\n" % next_at
    os.close(descriptor)


@pytest.mark.parametrize(("mode", "noted"), [(0o2770, 0o660), (0o755, 0o640), (0o700, 0o600)])
def test_the_note_is_for_those_who_have_the_state(place: launch.Place, mode: int, noted: int) -> None:
    os.chmod(place.state_dir, mode)
    before = os.umask(0o022)
    try:
        launch.look(place, DAY, 1)
    finally:
        os.umask(before)
    assert os.stat(f"{place.state_dir}/{LOOKED}").st_mode & 0o777 == noted


@pytest.mark.spawns
def test_what_is_opened_for_a_program_is_none_of_its_standard_streams() -> None:
    code = "from releaser import launch; import os; launch._fill_standard(); os._exit(os.dup(0))"
    words = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(words, check=False).returncode == 3
