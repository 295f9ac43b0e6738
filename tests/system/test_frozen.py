"""Frozen classes are dataclasses like any other."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, is_dataclass, replace

import pytest

from releaser.system.frozen import Frozen


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
    tags: list[str] = field(default_factory=list, repr=False, compare=False)


def test_they_are_what_a_dataclass_is() -> None:
    point, twin = Point(x=1, y=2), Twin(x=1, y=2)
    assert (repr(point), asdict(point), hash(point)) == (repr(twin).replace("Twin", "Point"), asdict(twin), hash(twin))
    assert Point(x=1, tags=["a"]) == Point(x=1, tags=["b"]) != Point(x=2)
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

    assert not isinstance(vars(Unused)["__dataclass_fields__"], dict), "its fields are built before they are needed"
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(lambda _: Unused(x=1), range(64))]
    assert found == [Unused(x=1, size=3, names=[])] * 64
    assert is_dataclass(Unused)
    assert [one.name for one in fields(Unused)] == ["x", "y", "tags", "name", "size", "names"]
