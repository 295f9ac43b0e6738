"""What a search has tried already."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from releaser.releases import verdicts
from releaser.releases.quarantine import CandidateKey
from releaser.releases.verdicts import VERDICTS, Verdicts

if TYPE_CHECKING:
    from pathlib import Path

KEY = CandidateKey(lock_sha256="l", code_key="c", python="3.11.7", group="prod")
VERSIONS = {"alpha": "1.0", "beta": "2.0"}


def test_a_verdict_is_remembered_whatever_the_text_of_the_lock(tmp_path: Path) -> None:
    Verdicts.read(tmp_path).note(VERSIONS, KEY, passed=False)
    known = Verdicts.read(tmp_path)
    assert known.of(dict(reversed(VERSIONS.items())), replace(KEY, lock_sha256="other")) is False
    known.note(VERSIONS, KEY, passed=True)
    assert Verdicts.read(tmp_path).of(VERSIONS, KEY) is True


@pytest.mark.parametrize("change", [{"code_key": "d"}, {"python": "3.12.1"}, {"group": None}])
def test_other_code_another_python_and_another_group_have_no_verdict_yet(
    tmp_path: Path, change: dict[str, str | None]
) -> None:
    known = Verdicts.read(tmp_path)
    known.note(VERSIONS, KEY, passed=True)
    other: dict[str, Any] = {**asdict(KEY), **change}
    assert known.of(VERSIONS, CandidateKey(**other)) is None
    assert known.of({**VERSIONS, "beta": "2.1"}, KEY) is None


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "KEPT", 2)
    known = Verdicts.read(tmp_path)
    for version in ("1", "2", "1", "3"):
        known.note({"alpha": version}, KEY, passed=True)
    assert [known.of({"alpha": version}, KEY) for version in ("1", "2", "3")] == [True, None, True]


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": 1, "passed": {"a": 1}}', '{"version": 9}'])
def test_a_damaged_file_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / VERDICTS).write_text(text, encoding="utf-8")
    known = Verdicts.read(tmp_path)
    assert known.of(VERSIONS, KEY) is None
    known.note(VERSIONS, KEY, passed=True)
    assert Verdicts.read(tmp_path).of(VERSIONS, KEY) is True
