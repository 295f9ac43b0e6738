"""The modules, classes and expressions that runs have used: a crew gets these ready before it forks again."""

from __future__ import annotations

import contextlib
import gc
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from releaser.system import common
from releaser.system.frozen import Frozen, Mutable, fields
from releaser.system.own_code import is_replaced

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUESTION = "learned"


class Learned(NamedTuple):
    """Names of modules, classes and expressions that are ready."""

    modules: frozenset[str] = frozenset()
    #: Module and name of each class whose fields are built.
    classes: frozenset[tuple[str, str]] = frozenset()
    #: Those of these as which JSON was read.
    read: frozenset[tuple[str, str]] = frozenset()
    #: Text or bytes, and flags.
    expressions: frozenset[tuple[Any, int]] = frozenset()

    @classmethod
    def here(cls) -> Learned:
        """Return those of this process."""
        built = {
            (kind.__module__, kind.__qualname__): vars(kind)
            for base in (Frozen, Mutable)
            for kind in _below(base)
            if any(isinstance(vars(kind).get(name), dict) for name in ("_fields", "__dataclass_fields__"))
        }
        return cls(
            modules=frozenset(sys.modules),
            classes=frozenset(built),
            read=frozenset(name for name, attributes in built.items() if "__msgspec_cache__" in attributes),
            expressions=frozenset(key[1:] for key in getattr(re, "_cache", ())),  # those of libraries, too
        )

    def get_ready(self) -> None:
        """Import, build and compile all; a run meets the errors again."""
        for name in sorted(self.modules.difference(sys.modules)):
            with contextlib.suppress(Exception):  # such as of half an upgrade, which must not end the runs
                import_module(name)
        for module, name in self.classes:
            kind = getattr(sys.modules.get(module), name, None)
            with contextlib.suppress(Exception):
                _ = kind and fields(kind)
                if (module, name) in self.read:
                    msgspec.json.Decoder(kind)
        for text, flags in self.expressions:
            re.compile(text, flags)


_ready = Learned()


def _below(kind: type) -> Iterator[type]:
    one: type
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def _known(answer: common.Answer | None) -> Learned:
    return msgspec.msgpack.decode(answer.known, type=Learned) if answer is not None and answer.known else Learned()


def note() -> None:
    """Let the crew get all that this run has used ready before it forks again."""
    with common.asking(_QUESTION) as answer:
        known, own = _known(answer), Learned.here()
        if answer is not None and not all(map(frozenset.issuperset, known, own)):
            answer.keep(msgspec.msgpack.encode(tuple(map(frozenset.union, known, own))))


def get_ready() -> None:
    """Get all that earlier runs have used ready, unless releaser was replaced meanwhile: its new code would not fit."""
    global _ready
    with common.asking(_QUESTION) as answer:
        known = _known(answer)
    if known != _ready and not is_replaced():
        known.get_ready()
        gc.collect()
        gc.freeze()  # each run shares these objects, and neither looks through nor copies them
        _ready = known
