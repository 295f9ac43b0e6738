"""The modules, classes and expressions that runs have used: a crew gets these ready before it forks again."""

from __future__ import annotations

import contextlib
import gc
import itertools
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, is_typeddict

import msgspec

from releaser.capabilities import GATHERED, gather
from releaser.releases.release import manifest_type
from releaser.system import common
from releaser.system.frozen import BUILT, Frozen, Mutable, fields
from releaser.system.own_code import is_replaced

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUESTION = "learned"


class Learned(NamedTuple):
    """Names of modules, classes and expressions that are ready."""

    modules: frozenset[str] = frozenset()
    #: The fields of capabilities that are gathered.
    gathered: frozenset[str] = frozenset()
    #: Module and name of each class whose fields are built.
    classes: frozenset[tuple[str, str]] = frozenset()
    #: Those of these as which JSON was read.
    read: frozenset[tuple[str, str]] = frozenset()
    #: Text or bytes, and flags.
    expressions: frozenset[tuple[Any, int]] = frozenset()

    @classmethod
    def here(cls) -> Learned:
        """Return those of this process."""
        built = {(kind.__module__, kind.__qualname__): vars(kind) for kind in BUILT}
        return cls(
            modules=frozenset(sys.modules),
            gathered=frozenset(GATHERED),
            classes=frozenset(built),
            read=frozenset(name for name, attributes in built.items() if "__msgspec_cache__" in attributes),
            expressions=frozenset(key[1:] for key in getattr(re, "_cache", ())),  # those of libraries, too
        )

    def get_ready(self) -> None:
        """Import, build and compile all; a run meets the errors again."""
        for name in sorted(self.modules.difference(sys.modules)):
            with contextlib.suppress(Exception):  # such as of half an upgrade, which must not end the runs
                import_module(name)
        for field in self.gathered:
            with contextlib.suppress(Exception):
                gather(field)
        with contextlib.suppress(Exception):
            manifest_type()  # makes the class of manifests
        kinds = {(kind.__module__, kind.__qualname__): kind for kind in _below(Frozen, Mutable)}
        for place in self.classes.intersection(kinds):
            with contextlib.suppress(Exception):
                fields(kinds[place])
                if place in self.read:
                    msgspec.json.Decoder(kinds[place])
        spaces = [getattr(sys.modules[name], "__dict__", {}) for name in self.modules.intersection(sys.modules)]
        for kind in [one for space in spaces if "TypedDict" in space for one in space.values() if is_typeddict(one)]:
            with contextlib.suppress(Exception):
                msgspec.json.Decoder(kind)  # keeps the types of its keys in the class
        for text, flags in self.expressions:
            re.compile(text, flags)


_ready = Learned()


def _below(*kinds: type) -> Iterator[type]:
    one: type
    for one in itertools.chain.from_iterable(kind.__subclasses__() for kind in kinds):
        yield one
        yield from _below(one)


def _known(answer: common.Answer | None) -> Learned:
    return msgspec.msgpack.decode(answer.known, type=Learned) if answer is not None and answer.known else Learned()


def note() -> None:
    """Let the crew prepare everything that this run has used, before it forks again."""
    own = Learned.here()
    if all(map(frozenset.issuperset, _ready, own)):  # as most runs of a night
        return
    with common.asking(_QUESTION) as answer:
        known = _known(answer)
        if answer is not None and not all(map(frozenset.issuperset, known, own)):
            answer.keep(msgspec.msgpack.encode(tuple(map(frozenset.union, known, own))))


def get_ready() -> None:
    """Prepare everything that earlier runs have used, unless releaser was replaced: its new code would not fit."""
    global _ready
    with common.asking(_QUESTION) as answer:
        known = _known(answer)
    if known != _ready and not is_replaced():
        known.get_ready()
        gc.collect()
        gc.freeze()  # each run shares these objects, and neither looks through nor copies them
        _ready = known
