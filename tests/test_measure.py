"""`make measure` counts what it says, and fails when a figure gets worse."""

import ast
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
FORCE = {"names": ["force"]}
COMMAND = {"names": ["command"], "of": ["log"]}


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("measure")


@pytest.mark.parametrize(
    ("code", "feature", "count"),
    [
        ("if force: pass", FORCE, 1),
        ("if self.force and other: pass", FORCE, 1),
        ("x = 1 if not site.force else 2", FORCE, 1),
        ("while force or other: pass", FORCE, 1),
        ("x = [a for a in b if force if other]", FORCE, 1),
        ("match self.force:\n    case True: pass", FORCE, 1),
        ("x = force or other", FORCE, 1),
        ("if force:\n    if force: pass", FORCE, 2),
        ("if a:\n    x = force and b", FORCE, 1),
        ("x = force", FORCE, 0),
        ("if forces: pass", FORCE, 0),
        ("if log.command == 'update': pass", COMMAND, 1),
        ("if run.log.command == 'update': pass", COMMAND, 1),
        ("if git.command: pass", COMMAND, 0),
        ("if command: pass", COMMAND, 0),
    ],
)
def test_a_condition_that_names_a_feature_is_counted_once(
    measure: ModuleType, code: str, feature: dict[str, Any], count: int
) -> None:
    assert sum(measure.names(one, feature) for one in measure.conditions(ast.parse(code))) == count


def test_a_figure_is_worse_only_if_it_misses_its_aim_and_the_best(measure: ModuleType) -> None:
    most, least = measure.Aim(what="x", to_be=10), measure.Aim(what="x", to_be=10, rises=True)
    assert [most.is_worse(now, 20) for now in (9, 10, 15, 20, 21)] == [False, False, False, False, True]
    assert [most.is_worse(now, 5) for now in (10, 11)] == [False, True]
    assert [least.is_worse(now, 5) for now in (4, 5, 10, 11)] == [True, False, False, False]


def test_a_worse_figure_fails_and_one_that_is_unknown_does_not(
    measure: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = dict.fromkeys(measure.AIMS, 1000)
    monkeypatch.setattr(measure, "measure", lambda: figures)
    monkeypatch.setattr(measure, "BEST", tmp_path / "measured.json")
    monkeypatch.setattr(measure.sys, "argv", ["measure.py", "--write"])
    assert measure.main() == 0
    monkeypatch.setattr(measure.sys, "argv", ["measure.py"])
    figures["conditions"] += 1
    assert measure.main() == 1
    assert "worse than it was: conditions on features" in capsys.readouterr().err
    del figures["conditions"]
    assert measure.main() == 0


def test_the_modules_of_the_table_are_there_and_each_belongs_to_one_feature(measure: ModuleType) -> None:
    house = measure.House()
    modules = [one for feature in house.features.values() for one in feature["modules"]]
    assert len(modules) == len(set(modules))
    assert not house.core & house.owner.keys() - {"pipelines/dry_run"}
    assert measure.fields(house.trees["site/settings"], "Settings")
