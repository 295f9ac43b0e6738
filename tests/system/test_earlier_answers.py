"""Answers of earlier runs: they count for the same looks alone, and nothing depends on their files."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from releaser.system.earlier_answers import ask_unless_known, look_at_files, look_at_program


class Program:
    """Counts how often it is asked."""

    def __init__(self, answer: str = "new") -> None:
        self.answer, self.times = answer, 0

    def __call__(self) -> str:
        self.times += 1
        return self.answer


def ask(file: Path, looks: object, answer: str = "new", *, keeps: bool = True) -> tuple[str, int]:
    program = Program(answer)
    return ask_unless_known(file, looks, program, fits=str.isalpha, keeps=keeps), program.times


def test_an_answer_counts_as_long_as_all_looks_the_same(tmp_path: Path) -> None:
    file = tmp_path / "answer"
    assert ask(file, ("a", 1), "old") == ("old", 1)
    assert ask(file, ("a", 1)) == ("old", 0)
    assert ask(file, ("a", 2)) == ("new", 1)
    assert ask(file, ("a", 1), "third") == ("third", 1)


def test_no_answer_is_kept_that_does_not_fit_or_outside_a_run(tmp_path: Path) -> None:
    file = tmp_path / "answer"
    assert ask(file, "a", "4 5") == ("4 5", 1)
    assert ask(file, "a", keeps=False) == ("new", 1)
    assert not file.exists()
    assert ask(tmp_path / "missing" / "answer", "a") == ("new", 1)


def _forge(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace("old", "/tmp/x"), encoding="utf-8")


def _replace_by_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _replace_by_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "spoil",
    [
        _forge,
        _replace_by_directory,
        lambda file: file.write_bytes(b"\xff\n\xff"),
        lambda file: file.write_bytes(b""),
        _replace_by_pipe,
        Path.unlink,
    ],
    ids=["forged", "directory", "binary", "empty", "fifo", "gone"],
)
def test_a_spoilt_file_is_not_believed(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    file = tmp_path / "answer"
    ask(file, "a", "old")
    spoil(file)
    assert ask(file, "a") == ("new", 1)


def test_a_program_looks_different_after_each_change_and_a_script_has_no_looks(tmp_path: Path) -> None:
    program, script = tmp_path / "program", tmp_path / "script"
    shutil.copy(os.path.realpath(sys.executable), program)
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    first = look_at_program(program)
    assert first is not None
    assert look_at_program(program) == first
    times = program.stat()
    with program.open("r+b") as file:
        file.seek(100)
        file.write(b"x")
    os.utime(program, ns=(times.st_atime_ns, times.st_mtime_ns))  # hides it, but for the change time
    assert look_at_program(program) != first
    assert look_at_program(script) is None
    named, launcher = tmp_path / "prog", tmp_path / "uv"
    named.symlink_to(program)
    launcher.symlink_to(program)
    assert look_at_program(named) == look_at_program(program)
    assert look_at_program(launcher) is None, "it may start another program tomorrow"
    assert look_at_program(tmp_path / "missing") is None
    assert look_at_files([tmp_path / "missing", "\0"]) == (None, None)
