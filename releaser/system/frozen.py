"""`Frozen` and `Mutable`: the bases of classes whose annotations are their fields, as with `@dataclass(kw_only=True)`.

`dataclasses` takes long to import, and compiles six methods for each class. In an update without news that took longer
than all the rest. So the methods are the same for all classes, and a class that is not used in a run costs nothing.
A library that asks for dataclasses, such as msgspec, gets real ones.
"""

from __future__ import annotations

from _thread import RLock
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from dataclasses import Field, field, fields, replace

    __all__ = ["Field", "Frozen", "Mutable", "field", "fields", "replace"]
else:

    class Field:
        """A field of a class; its attributes are those of `dataclasses.Field`, as far as they are used."""

        def __init__(self, options: dict[str, Any]) -> None:
            self.name, self.type, self.options = "", None, options
            self.default, self.default_factory = options.get("default", MISSING), options.get("default_factory")
            self.repr, self.compare = options.get("repr", True), options.get("compare", True)
            self.metadata: Mapping[str, Any] = options.get("metadata") or {}

        def value(self, owner: str) -> Any:
            """Return the value for an object that is made without one; TypeError if there is none."""
            if self.default_factory is not None:
                return self.default_factory()
            if self.default is not MISSING:
                return self.default
            message = f"{owner} needs {self.name}"
            raise TypeError(message)

    def field(**options: Any) -> Any:
        """Declare a field with the options of `dataclasses.field`."""
        return Field(options)

    def fields(kind: type[_Fields]) -> tuple[Field, ...]:
        """Return the fields of a class."""
        return tuple(kind._fields.values())

    def replace(value: Any, /, **changes: Any) -> Any:
        """Return a copy with other values of some fields. Raises TypeError for a name that is no field."""
        kept = {name: getattr(value, name) for name in value._fields if name not in changes}
        return type(value)(**kept, **changes)


MISSING = object()
#: The classes whose fields are built, as this process has used them.
BUILT: list[type[_Fields]] = []
#: Only one thread builds fields: a second look at the same class would find its defaults gone.
_BUILDING = RLock()


class _Unbuilt:
    """An attribute of a class that is not used yet. The first look at it builds its value."""

    def __init__(self, name: str, build: Callable[[type[_Fields]], None]) -> None:
        self.name, self.build = name, build

    def __get__(self, _: object, cls: type[_Fields]) -> Any:
        with _BUILDING:
            if vars(cls)[self.name] is self:
                BUILT.append(cls)
                self.build(cls)
        return vars(cls)[self.name]


def _build_fields(cls: type[_Fields]) -> None:
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        if issubclass(base, _Fields):
            found |= base._fields
    for name, annotation in cls.__annotations__.items():
        is_text = isinstance(annotation, str)
        if not (annotation.startswith("ClassVar[") if is_text else getattr(annotation, "__origin__", None) is ClassVar):
            found[name] = _take_field(cls, name, annotation)
    cls._fields = found
    cls._defaults = {name: one.default for name, one in found.items() if one.default is not MISSING}


def _take_field(cls: type[_Fields], name: str, annotation: Any) -> Any:
    """Return a field that a class declares; its default becomes the attribute of the class."""
    given = vars(cls).get(name, MISSING)
    found: Any = given if isinstance(given, Field) else Field({} if given is MISSING else {"default": given})  # type: ignore[call-arg]
    if type(found.default).__hash__ is None:
        message = f"the default of {cls.__name__}.{name} can be changed: use `default_factory`"
        raise ValueError(message)
    found.name, found.type = name, annotation
    if found.default is not MISSING:
        setattr(cls, name, found.default)
    elif given is not MISSING:
        delattr(cls, name)
    return found


def _build_dataclass(cls: type[_Fields]) -> None:
    import dataclasses

    for name in cls.__annotations__:
        one = cls._fields.get(name)
        if one is not None:
            setattr(cls, name, dataclasses.field(**one.options))
    dataclasses.dataclass(init=False, repr=False, eq=False, match_args=False)(cls)


_UNBUILT = {
    **{name: _Unbuilt(name, _build_fields) for name in ("_fields", "_defaults")},
    **{name: _Unbuilt(name, _build_dataclass) for name in ("__dataclass_fields__", "__dataclass_params__")},
}


class _Fields:
    _fields: ClassVar[dict[str, Any]] = {}
    _defaults: ClassVar[dict[str, Any]] = {}
    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

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
                owner = type(self).__name__
                given |= {name: one.value(owner) for name, one in known.items() if name not in given}
        self.__dict__.update(given)
        if hasattr(self, "__post_init__"):  # the class checks its values
            self.__post_init__()

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name, one in self._fields.items() if one.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
class Mutable(_Fields):
    """The base of a class whose fields change; objects are equal only to themselves."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Frozen(_Fields):
    """The base of a class of values; a subclass behaves as with `@dataclass(frozen=True, kw_only=True)`."""

    def __compared(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name, one in self._fields.items() if one.compare)

    def __eq__(self, other: object) -> bool:
        return self.__compared() == other.__compared() if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.__compared())

    def __setattr__(self, name: str, _: object) -> NoReturn:
        _refuse(self, name, "set")

    def __delattr__(self, name: str) -> NoReturn:
        _refuse(self, name, "deleted")


def _refuse(value: object, name: str, verb: str) -> NoReturn:
    from dataclasses import FrozenInstanceError

    message = f"{type(value).__name__}.{name} cannot be {verb}"
    raise FrozenInstanceError(message)
