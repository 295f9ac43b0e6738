"""The history: one line a run, whatever happens to the file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from releaser.locks.blocks import Block
from releaser.releases import journal
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


# A run is small here, and so are the limits.
NIGHT: dict[str, object] = {
    "command": "update",
    "result": "no-changes",
    "exit_code": 0,
    "release": "r1",
    "steps": [{"step": "resolve"}],
}
OLD: dict[str, dict[str, object]] = {
    "the newest good update": {"result": "updated"},
    "an update that could not go live": {"exit_code": 4, "result": "failed", "blocked": "alpha failed"},
    "an update of one package": {"only": ["alpha"]},
    "an audit": {"audit": "known", "vulnerabilities": []},
    "the audit that failed": {"audit": "unknown", "audit_reason": "no network"},
    "a rollback": {"command": "rollback", "result": "rolled-back", "live_changed": True},
    "an update that waits": {"due_at": "2026-11-20T03:00:00+00:00"},
    "the build of a release that is kept": {"release": "kept"},
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LARGEST_HISTORY", 16_000)
    monkeypatch.setattr(journal, "_KEPT_HISTORY", 12_000)
    monkeypatch.setattr(journal, "_LONGEST_RUN", 4_000)


def grown(directory: Path, runs: list[dict[str, object]]) -> None:
    """Write runs, oldest first, and let one more run make the history too large."""
    lines = [json.dumps({"run_id": f"{number:05}", **run}) for number, run in enumerate(runs)]
    (directory / HISTORY).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    written(directory, "last")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("what", OLD)
def test_a_large_history_loses_no_run_that_a_question_looks_for(tmp_path: Path, what: str) -> None:
    (tmp_path / "releases" / "kept").mkdir(parents=True)
    grown(tmp_path, [NIGHT, NIGHT | OLD[what] | {"run_id": "old"}, *[NIGHT] * 138])
    kept = ids(tmp_path)
    assert (kept[0], kept[-1]) == ("last", "old")
    assert (tmp_path / HISTORY).stat().st_size <= 12_000
    newest = kept[1:-1]
    assert newest == [f"{number:05}" for number in range(139, 139 - len(newest), -1)]
    assert len(newest) > 60


@pytest.mark.usefixtures("small")
def test_the_history_never_grows_beyond_its_limit_and_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    long = {"headline": "x" * 1_000}
    for number in range(60):
        grown(tmp_path, [*read_history(tmp_path)[::-1], {"number": number, **long, "result": f"result {number}"}])
        assert (tmp_path / HISTORY).stat().st_size < 16_000 + 4_000
    assert ids(tmp_path)[0] == "last"
    assert (tmp_path / HISTORY).stat().st_mode & 0o777 == 0o640
    (tmp_path / "outside").mkdir()
    grown(tmp_path, [{"release": "../outside", "result": ["no", {}], "only": 5, "steps": "x"}, *[NIGHT] * 140])
    assert ids(tmp_path)[0] == "last"


@pytest.mark.usefixtures("small")
def test_a_history_that_cannot_be_shortened_still_gets_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "replace_file", refuse)
    grown(tmp_path, [NIGHT] * 140)
    assert ids(tmp_path)[0] == "last"
    assert "the history cannot be shortened" in caplog.text
