"""Values are read without msgspec as msgspec reads them, or are left to it."""

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, Required, TypedDict, get_args, get_type_hints

import msgspec
import pytest

from releaser.capabilities import state_files
from releaser.releases.blocks import Blocks, StoredBlock
from releaser.releases.lifecycle import Lifecycle
from releaser.releases.release import manifest_type
from releaser.system import exact
from releaser.system.exact import InexactError, reader
from releaser.system.files import encode_state, write_state
from releaser.system.frozen import Frozen, fields

NOW = datetime(2026, 11, 20, 6, 12, tzinfo=UTC)
#: A faulty disk, a person or another version of releaser may leave these in place of a value.
WRONG = (None, True, 0, 1, 1.5, -1, "", "a", "2026-11-20", "2026-11-20T06:12:00+00:00", "2026-11-20T06:12:00+01:00")
WRONG_TOO: tuple[Any, ...] = (
    *WRONG,
    [],
    [1],
    ["a"],
    [[]],
    {},
    {"a": 1},
    {"name": "a"},
    "2026-11-20T06:12:00Z",
    "20261120T061200+00:00",
)


def a_manifest() -> dict[str, Any]:
    from tests.releases.makers import a_manifest as make

    found: dict[str, Any] = json.loads(encode_state(make()))
    return found


def some_blocks() -> dict[str, Any]:
    block = StoredBlock(
        what="package", name="alpha", version="2.0", by="tests", reason="red", since=NOW.isoformat(), until=NOW
    )
    found: dict[str, Any] = json.loads(encode_state(Blocks(entries=(block, block))))
    return found


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place of a value in others."""
    for name in content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield content, name
        yield from places(content[name])


@pytest.mark.parametrize(("kind", "content"), [(manifest_type(), a_manifest()), (Blocks, some_blocks())])
def test_a_changed_state_file_is_read_as_msgspec_reads_it_or_left_to_it(kind: type[Any], content: Any) -> None:
    del content["version"]
    assert reader(kind)(content) == msgspec.convert(content, kind)
    read = 0
    for number, wrong in enumerate(WRONG_TOO * len(list(places(content)))):
        changed = copy.deepcopy(content)
        inside, name = list(places(changed))[number // len(WRONG_TOO)]
        inside[name] = wrong
        try:
            found = reader(kind)(changed)
        except InexactError:
            continue
        read += 1
        assert repr(found) == repr(msgspec.convert(changed, kind))
    assert read > 0
    for name in content:
        less = {other: value for other, value in content.items() if other != name}
        try:
            found = reader(kind)(less)
        except InexactError:
            continue
        assert repr(found) == repr(msgspec.convert(less, kind))


class Marked(TypedDict, total=False):
    """A type whose annotations are text here, as in all modules."""

    name: Required[str]
    number: int


class Half(TypedDict):
    name: str
    number: NotRequired[int]


@pytest.mark.parametrize("kind", [Marked, Half])
def test_a_missing_name_is_left_to_msgspec(kind: type[Any]) -> None:
    assert reader(kind)({"name": "a", "other": 1}) == msgspec.convert({"name": "a", "other": 1}, kind) == {"name": "a"}
    with pytest.raises(InexactError):
        reader(kind)({"number": 1})


def test_a_state_file_that_only_msgspec_reads_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_needs_msgspec", lambda: False)
    text = b'{\n "version": 2,\n "stage": "live",\n "since": "",\n "flip": 1,\n "later": ' + b"1" * 5000 + b"\n}\n"
    assert exact.decode_exact(text, Lifecycle) == Lifecycle(stage="live", since="", flip=1)


def classes_in(of: Any) -> Iterator[type[Frozen]]:
    """Yield the classes of values in a type, and those in their fields."""
    if isinstance(of, type) and issubclass(of, Frozen):
        yield of
        yield from (one for field in get_type_hints(of).values() for one in classes_in(field))
    else:
        yield from (one for argument in get_args(of) for one in classes_in(argument))


def test_every_type_of_a_state_file_is_known() -> None:
    kinds = [one.type for one in state_files() if isinstance(one.type, type) and issubclass(one.type, Frozen)]
    assert len(kinds) > 10
    for kind in {one for known in (*kinds, manifest_type()) for one in classes_in(known)}:
        types, hints = exact.types_of_fields(kind), get_type_hints(kind)
        assert types == {one.name: hints[one.name] for one in fields(kind)}
        assert all(map(reader, types.values()))


class Odd(Frozen):
    either: int | str


def test_an_unknown_type_is_left_to_msgspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_needs_msgspec", lambda: False)
    with pytest.raises(InexactError):
        reader(Odd)({"either": "a"})
    assert exact.convert({"either": "a"}, Odd) == Odd(either="a")
    with pytest.raises(ValueError, match="either"):
        exact.convert({"either": None}, Odd)


COUNTING = """
import sys
from pathlib import Path
from releaser.releases.lifecycle import Lifecycle
from releaser.system.files import decode_state
for number in range(int(sys.argv[2])):
    assert decode_state(Path(sys.argv[1]), Lifecycle).stage == "live"
print("msgspec" in sys.modules, "dataclasses" in sys.modules)
"""


@pytest.mark.spawns
@pytest.mark.parametrize(("number", "imported"), [(10, "False False"), (60, "True True")])
def test_only_many_files_are_worth_the_import_of_msgspec(tmp_path: Path, number: int, imported: str) -> None:
    write_state(tmp_path / "state.json", Lifecycle(stage="live", since="", flip=1))
    words = [sys.executable, "-c", COUNTING, str(tmp_path / "state.json"), str(number)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == imported
