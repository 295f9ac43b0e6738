"""Frozen classes are dataclasses like any other, and need no `dataclasses`."""

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, asdict, dataclass, is_dataclass
from typing import Annotated, ClassVar

import msgspec
import pytest

from releaser.system.frozen import Frozen, Mutable, field, fields, replace


class Point(Frozen):
    x: int
    y: int = 0
    tags: list[str] = field(default_factory=list, repr=False, compare=False)


class Named(Point):
    name: str = "origin"

    def __post_init__(self) -> None:
        if not self.name:
            message = "no name"
            raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class Twin:
    x: int
    y: int = 0
    tags: list[str] = dataclasses.field(default_factory=list, repr=False, compare=False)


def test_they_are_what_a_dataclass_is() -> None:
    point, twin = Point(x=1, y=2), Twin(x=1, y=2)
    assert (repr(point), asdict(point), hash(point)) == (repr(twin).replace("Twin", "Point"), asdict(twin), hash(twin))
    assert Point(x=1, tags=["a"]) == Point(x=1, tags=["b"]) != Point(x=2)
    assert dataclasses.replace(point, y=3) == replace(point, y=3) == Point(x=1, y=3)
    assert replace(Named(x=1, name="a"), y=3) == Named(x=1, y=3, name="a") != Point(x=1, y=3)
    assert Point(x=1).tags is not Point(x=1).tags


def test_they_take_what_they_have_and_nothing_else_and_nothing_changes_them() -> None:
    with pytest.raises(TypeError, match="Point needs x"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Named has no z"):
        Named(x=1, z=2)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="no name"):
        Named(x=1, name="")
    point = Point(x=1)
    with pytest.raises(FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del point.x


def test_a_class_that_is_not_used_costs_next_to_nothing_and_is_whole_for_threads_that_use_it_at_once() -> None:
    class Unused(Named):
        size: int = field(default=3)
        names: list[str] = field(default_factory=list)

    assert not isinstance(vars(Unused)["_fields"], dict), "its fields are built before they are needed"
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(lambda _: Unused(x=1), range(64))]
    assert found == [Unused(x=1, size=3, names=[])] * 64
    assert is_dataclass(Unused)
    assert [one.name for one in fields(Unused)] == ["x", "y", "tags", "name", "size", "names"]


class Setting(Frozen):
    kind: ClassVar[str] = "setting"
    size: Annotated[int, "bytes"] = field(default=1, metadata={"unit": "B"})


def test_fields_have_their_types_and_metadata_and_variables_of_the_class_are_none() -> None:
    (size,) = fields(Setting)
    assert {"name": size.name, "default": size.default, **size.metadata} == {"name": "size", "default": 1, "unit": "B"}
    assert size.type is Setting.__annotations__["size"]
    assert (Setting.size, Setting().size, Setting.kind) == (1, 1, "setting")
    assert [one.name for one in dataclasses.fields(Setting)] == ["size"]


def test_msgspec_reads_and_writes_them_as_dataclasses() -> None:
    class Line(Frozen):
        start: Setting
        name: str = "a"

    assert msgspec.convert({"start": {"size": 3}}, Line) == Line(start=Setting(size=3))
    assert msgspec.to_builtins(Line(start=Setting(size=3))) == {"start": {"size": 3}, "name": "a"}
    assert replace(msgspec.convert({"start": {}}, Line), start=Setting(size=2)) == Line(start=Setting(size=2))
    with pytest.raises(msgspec.ValidationError, match="start"):
        msgspec.convert({"name": "b"}, Line)


def test_a_default_that_objects_would_share_is_refused() -> None:
    class Sharing(Frozen):
        names: list[str] = []  # noqa: RUF012 - for the test

    with pytest.raises(ValueError, match=r"default of Sharing.names can be changed"):
        Sharing()


def test_mutable_objects_change_and_equal_only_themselves() -> None:
    class Count(Mutable):
        number: int = 0
        names: list[str] = field(default_factory=list)

    one = Count()
    one.number += 1
    assert (one.number, Count().number) == (1, 0)
    assert one == one != Count(number=1)
    assert repr(one).endswith("Count(number=1, names=[])")
    assert {one: True}[one]


def test_they_do_without_the_module_that_takes_long_to_import() -> None:
    code = (
        "import sys; from releaser.system.frozen import Frozen, fields, replace\n"
        "class Point(Frozen):\n x: int\n"
        "replace(Point(x=1), x=2), fields(Point), hash(Point(x=1)), repr(Point(x=1))\n"
        "sys.exit('dataclasses' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
