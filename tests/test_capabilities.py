"""The list of capabilities: what it names exists, and is named once."""

from __future__ import annotations

from collections import Counter

from releaser.capabilities import CAPABILITIES, gather
from releaser.system.state_files import StateFile


def test_each_capability_and_each_state_file_is_listed_once() -> None:
    for names in ([one.name for one in CAPABILITIES], [one.name for one in gather("state", StateFile)]):
        assert [name for name, times in Counter(names).items() if times > 1] == []
