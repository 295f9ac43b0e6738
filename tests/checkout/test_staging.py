"""What a staging tree gets while visitors of a site upload files."""

import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from releaser.checkout.staging_settings import StagingSettings
from releaser.checkout.untracked import Carrier, Way
from releaser.site.site import Carried


def _carry(path: Path, place: Path) -> Carried:
    """Bring one path, as where there is no git."""
    way, carried = Way(links=True), Carried()
    nothing = frozenset[Path]()
    carrier = Carrier(
        settings=StagingSettings(), top=path.parent, place=place, excluded=nothing, way=way, is_generous=True
    )
    carrier.carry(carrier.plan([path.name]), carried)
    return carried


def test_a_directory_that_goes_and_comes_back_meanwhile_is_not_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may be asked twice about a directory: it was gone when its rights were asked, and there again after."""
    uploads = tmp_path / "top" / "uploads"
    uploads.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != uploads and os.path.exists(path))
    place = tmp_path / "place"
    carried = _carry(uploads, place)
    assert stat.S_ISDIR((place / "uploads").lstat().st_mode)
    assert carried.linked == []


def _just_too_late(file: Path, call: Callable[..., Any], *given: Any, **options: Any) -> Any:
    file.unlink(missing_ok=True)
    return call(*given, **options)


def test_a_file_that_goes_before_it_is_read_is_not_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is gone is none that this user may not read, which would be linked."""
    upload = tmp_path / "top" / "a.jpg"
    upload.parent.mkdir()
    upload.touch()

    for name in ("open", "access"):
        monkeypatch.setattr(os, name, partial(_just_too_late, upload, getattr(os, name)))
    place = tmp_path / "place"
    carried = _carry(upload, place)
    assert not os.path.lexists(place / "a.jpg")
    assert (carried.copied, carried.linked) == ([], [])
