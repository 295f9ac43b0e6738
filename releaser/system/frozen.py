"""`Frozen`: the base of value classes, a frozen dataclass whose methods are not compiled again for each class."""

from __future__ import annotations

from _thread import RLock
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from typing import Any, ClassVar, NoReturn, dataclass_transform

#: Only one thread builds fields: a second look at the same class would find its defaults gone.
_BUILDING = RLock()


class _Unbuilt:
    """An attribute of a class that is not used yet. The first look at it builds the fields of the class."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, _: object, cls: type[Frozen]) -> Any:
        with _BUILDING:
            if vars(cls)[self.name] is self:
                dataclass(init=False, repr=False, eq=False, match_args=False)(cls)
                cls._fields = {own_field.name: own_field for own_field in fields(cls)}  # type: ignore[arg-type]
                cls._defaults = {name: one.default for name, one in cls._fields.items() if one.default is not MISSING}
        return vars(cls)[self.name]


_UNBUILT = {name: _Unbuilt(name) for name in ("__dataclass_fields__", "__dataclass_params__", "_fields", "_defaults")}


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Frozen:
    """The base of a class of values; a subclass behaves as with `@dataclass(frozen=True, kw_only=True)`.

    `@dataclass` compiles six methods for each class, and reads all its annotations. In an update without news that took
    longer than all the rest. So the methods are the same for all classes, and most classes are never used in a run.
    """

    _fields: ClassVar[dict[str, Field[Any]]]
    _defaults: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, attribute in _UNBUILT.items():
            setattr(cls, name, attribute)

    def __init__(self, **given: Any) -> None:
        known = self._fields
        if given.keys() != known.keys():
            if unknown := given.keys() - known.keys():
                message = f"{type(self).__name__} has no {', '.join(sorted(unknown))}"
                raise TypeError(message)
            given = {**self._defaults, **given}
            if len(given) < len(known):
                given |= {name: self.__default(one) for name, one in known.items() if name not in given}
        self.__dict__.update(given)
        if hasattr(self, "__post_init__"):  # the class checks its values
            self.__post_init__()

    def __default(self, one: Field[Any]) -> Any:
        if one.default_factory is not MISSING:
            return one.default_factory()
        message = f"{type(self).__name__} needs {one.name}"
        raise TypeError(message)

    def __compared(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name, one in self._fields.items() if one.compare)

    def __eq__(self, other: object) -> bool:
        return self.__compared() == other.__compared() if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.__compared())

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name, one in self._fields.items() if one.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __setattr__(self, name: str, _: object) -> NoReturn:
        message = f"{type(self).__name__}.{name} cannot be set"
        raise FrozenInstanceError(message)

    def __delattr__(self, name: str) -> NoReturn:
        message = f"{type(self).__name__}.{name} cannot be deleted"
        raise FrozenInstanceError(message)
