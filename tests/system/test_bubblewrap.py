"""Bubblewrap: what is laid into a sandbox."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from releaser.system import bubblewrap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


def test_files_that_vanish_meanwhile_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def vanishing(place: str) -> contextlib.AbstractContextManager[Iterator[os.DirEntry[str]]]:
        entries = sorted(scan(place), key=lambda one: one.name)
        (tmp_path / "a").unlink()
        return contextlib.nullcontext(iter(entries))

    (tmp_path / "a").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "b"))
        monkeypatch.setattr(os, "scandir", vanishing)
        assert bubblewrap._sockets(str(tmp_path)) == [str(tmp_path / "b")]
        monkeypatch.undo()
    assert bubblewrap._sockets(str(tmp_path / "nowhere")) == []
