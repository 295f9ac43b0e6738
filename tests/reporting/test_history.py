"""The history: one line a run, whatever happens to the file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from releaser.locks.blocks import Block
from releaser.releases.journal import HISTORY, add_to_history, read_history, report_as_json
from releaser.report import Outcome
from releaser.system.files import plain
from tests.reporting.makers import UPDATED, findings

REPORT = replace(
    UPDATED,
    changes=UPDATED.changes[:1],
    on_hold=(Block(name="beta", version="2.0", reason="ill"),),
    steps=(Outcome(step="build", status="ok", detail="B", seconds=6.0),),
    problems=(*findings("no push", advice="Push."), *findings("no mail")),
    output="a long output",
)


def written(directory: Path, *names: str) -> None:
    for name in names:
        add_to_history(directory, replace(REPORT, run_id=name))


def ids(directory: Path) -> list[str]:
    return [run["run_id"] for run in read_history(directory)]


def test_as_json_a_report_has_all_that_programs_rely_on_but_its_output_as_it_is_in_the_log(tmp_path: Path) -> None:
    written(tmp_path, "1")
    (content,) = read_history(tmp_path)
    facts = json.loads(json.dumps(report_as_json(replace(REPORT, run_id="1")), default=plain))
    assert content == {name: value for name, value in facts.items() if name != "output"}
    assert content.items() >= {"result": "updated", "exit_code": 0, "release": "r2", "previous": "r1"}.items()
    change, held = content["changes"][0], content["on_hold"][0]
    assert change.items() >= {"name": "django", "old": "5.1.2", "new": "5.2", "bump": "minor"}.items()
    assert held.items() >= {"name": "beta", "version": "2.0", "reason": "ill"}.items()
    assert content["steps"] == [{"step": "build", "status": "ok", "seconds": 6.0, "detail": "B"}]
    assert content["problems"] == ["no push. Push.", "no mail"]
    assert "a long output" not in (tmp_path / HISTORY).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "headline", ["größer", "a\nb\r\nc", "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg", "/srv/caf\udce9", '"\\', "\0"]
)
def test_a_run_is_one_line_whatever_is_in_it(tmp_path: Path, headline: str) -> None:
    for name in ("1", "2"):
        add_to_history(tmp_path, replace(REPORT, run_id=name, headline=headline))
    assert [(run["run_id"], run["headline"]) for run in read_history(tmp_path)] == [("2", headline), ("1", headline)]
    assert (tmp_path / HISTORY).read_bytes().count(b"\n") == 2


def test_a_line_that_a_crash_cut_off_costs_one_run(tmp_path: Path) -> None:
    written(tmp_path, "1", "2")
    path = tmp_path / HISTORY
    path.write_bytes(path.read_bytes()[:-20])
    assert ids(tmp_path) == ["1"]
    written(tmp_path, "3")
    assert ids(tmp_path) == ["3", "1"]


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"\xff\xfe", b"[]", b"5", b"", b"{", b"[" * 100_000])
def test_damaged_lines_are_passed_over(tmp_path: Path, garbage: bytes) -> None:
    written(tmp_path, "1")
    with (tmp_path / HISTORY).open("ab") as file:
        file.write(garbage + b"\n")
    written(tmp_path, "2")
    assert ids(tmp_path) == ["2", "1"]


def test_a_history_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / HISTORY).mkdir()
    assert ids(tmp_path) == []
    with pytest.raises(IsADirectoryError):
        written(tmp_path, "1")
