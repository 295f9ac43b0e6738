"""What a search for culprits has tried already: sets of versions, and whether the tests passed with them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, check_types, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from releaser.releases.quarantine import CandidateKey

VERDICTS = "verdicts.json"
KEPT = 500
_LONGEST = 5000  # characters of what the tests printed


@dataclass(kw_only=True)
class Verdicts:
    """The verdicts of a project, oldest first. A damaged file counts as none: what is lost is time."""

    state_dir: Path
    _passed: dict[str, bool] = field(default_factory=dict)
    #: In a few words why they failed, and the end of what they printed.
    _faults: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, state_dir: Path) -> Verdicts:
        """Read what there is."""
        try:
            content = {"faults": {}, **(read_json(state_dir / VERDICTS) or {"passed": {}})}
            check_types(content, {"passed": dict, "faults": dict})
            check_types(content["passed"], dict.fromkeys(content["passed"], bool))
            check_types(content["faults"], dict.fromkeys(content["faults"], list))
        except (KeyError, TypeError, UnreadableStateError):
            return cls(state_dir=state_dir)
        return cls(state_dir=state_dir, _passed=content["passed"], _faults=content["faults"])

    def of(self, versions: Mapping[str, str], key: CandidateKey) -> bool | None:
        """Tell whether these versions passed with the code, the Python and the group of `key`; None: not tried."""
        return self._passed.get(_name(versions, key))

    def fault_of(self, versions: Mapping[str, str], key: CandidateKey) -> tuple[str, str] | None:
        """Return why these versions failed, in a few words, and the end of what the tests printed, if it is known."""
        fault = self._faults.get(_name(versions, key), [])
        return (str(fault[0]), str(fault[1])) if len(fault) == 2 else None

    def note(
        self, versions: Mapping[str, str], key: CandidateKey, *, passed: bool, fault: tuple[str, str] | None = None
    ) -> None:
        """Remember a verdict, durably. Raises OSError."""
        name = _name(versions, key)
        self._passed.pop(name, None)
        self._passed[name] = passed
        if fault is not None:
            self._faults[name] = [fault[0], fault[1][-_LONGEST:]]
        self._passed = dict(list(self._passed.items())[-KEPT:])
        self._faults = {one: fault for one, fault in self._faults.items() if self._passed.get(one) is False}
        write_json(self.state_dir / VERDICTS, {"passed": self._passed, "faults": self._faults})


def _name(versions: Mapping[str, str], key: CandidateKey) -> str:
    facts = [sorted(versions.items()), key.code_key, key.python, key.group]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
