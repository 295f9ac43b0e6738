"""releaser limits how much it reads of each file and answer, so that no site can fill its memory.

With `--all`, root reads what programs of each owner print. One that prints without an end costs that site its answer,
and nothing else. A state file that is too large counts as damaged.
"""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from releaser.errors import ToolError
from releaser.releases.blocks import read_blocks
from releaser.releases.journal import HISTORY, Journal, read_history, read_notes
from releaser.reporting.outbox import Outbox
from releaser.site.run_lock import HOLDER, holder
from releaser.system.files import LARGEST, LARGEST_STATE, TooLargeError, UnreadableStateError, read_file, read_if_there
from releaser.system.process import Runner
from tests.attacks.people import OWNER, People
from tests.support.sites import SampleSite

MIB = 1 << 20


def sparse(file: Path, size: int, begin: str = "") -> Path:
    """Write a file that begins so, is so large, and takes no room on the disk."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(begin, encoding="utf-8")
    os.truncate(file, size)
    return file


def peak_of(code: str, *words: str | Path) -> tuple[int, str]:
    """Run Python, and return the most memory that it has taken, in MiB, and what it printed."""
    peak = "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"  # since it was started (proc(5))
    told = f"{textwrap.dedent(code)}\n{peak}"
    done = subprocess.run([sys.executable, "-c", told, *map(str, words)], capture_output=True, text=True, check=True)
    *lines, taken = done.stdout.splitlines()
    return int(taken) // 1024, "\n".join(lines)


# An owner's programs


def test_an_endless_answer_counts_as_no_answer_and_uses_no_memory_of_root(tmp_path: Path) -> None:
    """The process of a site prints 300 MB of JSON, as `--all` reads it."""
    code = """
        import json, sys
        from pathlib import Path
        from releaser.fleet import many_sites
        from releaser.fleet.sites_file import ListedSite
        chatty = "import sys\\nsys.stdout.write('[' + '{},' * 100_000_000 + '{}]')"
        many_sites._AGAIN = chatty
        sites = many_sites.ManySites(sites=[ListedSite(path=Path(sys.argv[1]))], jobs=1, environ={"PATH": "/usr/bin"})
        for answer in sites.ask(["status"], as_json=True):
            print(answer.exit_code, answer.answer, *answer.errors)
    """
    peak, said = peak_of(code, tmp_path)
    assert said.endswith("printed more than 8 MiB, the most that releaser reads")
    assert peak < 250


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_whole_files_are_read_up_to_a_limit(tmp_path: Path, stream: str) -> None:
    runner, words = Runner(environ=dict(os.environ)), [sys.executable, "-c"]
    exact = [*words, f"import sys; sys.{stream}.write('x' * {MIB})"]
    found = runner.run(exact, cwd=tmp_path, timeout=60, whole=True, most=MIB)
    assert len(getattr(found, stream)) == MIB
    more = [*words, f"import sys; sys.{stream}.write('x' * {MIB} + 'y')"]
    for check in (True, False):
        with pytest.raises(ToolError, match="printed more than 1 MiB, the most that releaser reads"):
            runner.run(more, cwd=tmp_path, timeout=60, whole=True, most=MIB, check=check)


# Files


def test_a_file_above_the_limit_is_an_error_and_not_missing(tmp_path: Path) -> None:
    assert len(read_file(sparse(tmp_path / "fits", LARGEST))) == LARGEST
    large = sparse(tmp_path / "large", LARGEST + 1)
    for read in (read_file, read_if_there):
        with pytest.raises(TooLargeError, match="larger than 64 MiB, which is the most that releaser reads"):
            read(large)
    assert len(read_file(large, most=None)) == LARGEST + 1


READS: dict[str, Callable[[Path], object]] = {
    "journal.json": lambda state: Journal(state_dir=state).read(),
    "notes.json": read_notes,
    "blocks.json": read_blocks,
    "quarantine.json": read_blocks,
    "holds.json": read_blocks,
    HOLDER: holder,
}


@pytest.mark.parametrize("name", READS)
def test_a_state_file_that_is_too_large_counts_as_damaged_or_missing(tmp_path: Path, name: str) -> None:
    expected = READS[name](tmp_path)
    sparse(tmp_path / name, LARGEST_STATE + 1, '{\n "version": 2,\n "')
    if name == "journal.json":
        with pytest.raises(UnreadableStateError, match="larger than 16 MiB"):
            READS[name](tmp_path)
    else:
        assert READS[name](tmp_path) == expected


def test_a_line_of_the_history_that_is_too_long_is_skipped_and_the_others_are_read(tmp_path: Path) -> None:
    runs = [json.dumps({"command": "update", "number": number}) for number in range(3)]
    bomb = "[" + "{}," * (50 * MIB) + "{}]"
    (tmp_path / HISTORY).write_text("\n".join([runs[0], bomb, *runs[1:], ""]), encoding="utf-8")
    code = """
        import sys
        from pathlib import Path
        from releaser.releases.journal import read_history
        print(*(one["number"] for one in read_history(Path(sys.argv[1]))))
    """
    peak, said = peak_of(code, tmp_path)
    assert said == "2 1"  # the oldest is further back than the history is read
    assert peak < 150
    (tmp_path / HISTORY).write_text("\n".join([runs[0], f'{{"x": "{"y" * 2 * MIB}"}}', runs[1], ""]), encoding="utf-8")
    assert [one["number"] for one in read_history(tmp_path)] == [1, 0]


def test_a_mail_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    sparse(tmp_path / "new" / "1.mail", LARGEST + 1)
    assert not Outbox(path=tmp_path).list_queued()


def test_a_site_with_files_that_are_too_large_says_so(owned: SampleSite, people: People) -> None:
    history = owned.outer / ".releaser" / owned.path.name / HISTORY
    before = history.read_bytes()
    try:
        with history.open("ab") as file:
            file.write(b'{"command": "' + b"x" * 150 * MIB + b'"}\n')
        for command in ("status", "history", "list"):
            done = people.by(OWNER, owned, command, "--json")
            assert (done.returncode, "Traceback" in done.stderr, len(done.stdout) < MIB) == (0, False, True)
    finally:
        history.write_bytes(before)


@pytest.mark.spread(1)
@pytest.mark.parametrize("name", ["uv.lock", "pyproject.toml", "../.env"])
def test_a_file_of_the_project_that_is_too_large_is_named(owned: SampleSite, people: People, name: str) -> None:
    file = owned.path / name
    before = file.read_bytes()
    try:
        os.truncate(file, LARGEST + 1)
        assert "Traceback" not in people.by(OWNER, owned, "status").stderr
        done = people.by(OWNER, owned, "update")
        assert "Traceback" not in done.stderr
        assert done.returncode in (3, 4), done.stderr
        assert "larger than 64 MiB, which is the most that releaser reads" in done.stderr
    finally:
        file.write_bytes(before)
