"""Reads JSON and TOML as the types of state files and locks. msgspec does that faster, but takes 20 ms to import.

Only values exactly as `write_state` and uv write them are read here. All others are left to msgspec, which reports
errors in them, and so are those of a run that reads many files, or has imported msgspec.
"""

from __future__ import annotations

import functools
import itertools
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, Required, TypeVar, get_args, get_origin, get_type_hints, is_typeddict

from releaser.system.frozen import Frozen

T = TypeVar("T")
Read = Callable[[Any], Any]
_MOST = 50  # values that are read without msgspec; its import takes as long as some 400 manifests
_count = itertools.count()
_readers: dict[Any, Read] = {}
_MARKS = (Required, NotRequired)


class InexactError(Exception):
    """A value is not exactly as `write_state` writes a value of this type, or the type is unknown here."""


def decode_exact(data: bytes, kind: type[T]) -> T:
    """Return the content of a state file as this frozen class. Raises InexactError and ValueError."""
    if not _needs_msgspec():
        with suppress(InexactError, ValueError, RecursionError):
            content = json.loads(data)
            content.pop("version")
            found: T = reader(kind)(content)
            return found
    import msgspec

    try:
        return msgspec.json.decode(data.decode(), type=kind)
    except msgspec.MsgspecError as error:
        raise InexactError(kind) from error


def convert(value: Any, kind: type[T]) -> T:
    """Return a value from JSON or TOML as one of this type. Raises ValueError."""
    if not _needs_msgspec():
        try:
            found: T = reader(kind)(value)
        except InexactError:
            pass
        else:
            return found
    import msgspec

    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def _needs_msgspec() -> bool:
    return "msgspec" in sys.modules or next(_count) >= _MOST


def reader(kind: Any) -> Read:
    """Return the function that reads a value of a type. Both raise InexactError."""
    if kind not in _readers:
        _readers[kind] = _make_reader(kind)
    return _readers[kind]


def _make_reader(kind: Any) -> Read:
    if kind is Any:
        return _read_any
    if kind in (str, int, bool, NoneType):
        return functools.partial(_read_plain, kind)
    if kind is float:
        return _read_float
    if kind is datetime:
        return _read_time
    if is_typeddict(kind):
        return _reader_of_names(kind)
    if isinstance(kind, type) and issubclass(kind, Frozen):
        return _reader_of_fields(kind)
    return _reader_of_many(get_origin(kind), get_args(kind))


def _reader_of_many(origin: Any, of: tuple[Any, ...]) -> Read:
    """Return the function that reads a value of a type that consists of others."""
    if origin is Literal:
        return functools.partial(_read_literal, frozenset(of))
    if origin is UnionType and len(of) == 2 and NoneType in of:
        read = reader(of[of[0] is NoneType])
        return lambda value: None if value is None else read(value)
    if origin in (Mapping, dict) and of[0] is str:
        return functools.partial(_read_mapping, reader(of[1]))
    if origin in (list, frozenset) or (origin is tuple and of[1:] == (...,)):
        return functools.partial(_read_list, reader(of[0]), origin)
    raise InexactError(origin)


def _read_any(value: Any) -> Any:
    return value


def _read_plain(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise InexactError(value)
    return value


def _read_float(value: Any) -> float:
    if type(value) not in (int, float):
        raise InexactError(value)
    return float(value)


def _read_time(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise InexactError(value) from error
    if found.tzinfo is not UTC or found.isoformat() != value:
        raise InexactError(value)
    return found


def _read_literal(known: frozenset[Any], value: Any) -> Any:
    if type(value) is not str or value not in known:
        raise InexactError(value)
    return value


def _read_mapping(read: Read, value: Any) -> dict[str, Any]:
    if read is _read_any:
        return dict(_read_plain(dict, value))
    return {name: read(one) for name, one in _read_plain(dict, value).items()}


def _read_list(read: Read, make: type, value: Any) -> Any:
    return make([read(one) for one in _read_plain(list, value)])


def _reader_of_names(kind: Any) -> Read:
    hints = get_type_hints(kind, include_extras=True)
    marks = {name: get_origin(of) for name, of in hints.items()}
    reads = {name: reader(get_args(of)[0] if marks[name] in _MARKS else of) for name, of in hints.items()}
    # Python does not look at marks in annotations that are text.
    required = {name for name in hints if marks[name] is Required}
    required |= {name for name in kind.__required_keys__ if marks[name] is not NotRequired}

    def read(value: Any) -> dict[str, Any]:
        if not required <= _read_plain(dict, value).keys():
            raise InexactError(value)
        return {name: reads[name](one) for name, one in value.items() if name in reads}

    return read


def types_of_fields(kind: type[Frozen]) -> dict[str, Any]:
    """Return the types of the fields of a class, as `get_type_hints` does, which takes twice as long."""
    types: dict[str, Any] = {}
    for base in (one for one in kind.__mro__ if issubclass(one, Frozen)):
        known = vars(sys.modules[base.__module__])
        for name in kind._fields.keys() & base.__annotations__.keys() - types.keys():
            text = base.__annotations__[name]
            types[name] = eval(text, known) if isinstance(text, str) else text  # noqa: S307 - a text of this program
    return types


def _reader_of_fields(kind: type[Frozen]) -> Read:
    @functools.cache
    def reads() -> dict[str, Read]:  # made for the first value: most files have no value of most types in them
        return {name: reader(of) for name, of in types_of_fields(kind).items()}

    def read(value: Any) -> Frozen:
        of = reads()
        try:
            return kind(**{name: of[name](one) for name, one in _read_plain(dict, value).items()})
        except (LookupError, TypeError, ValueError) as error:  # a field is unknown or missing, or its value refused
            raise InexactError(value) from error

    return read
