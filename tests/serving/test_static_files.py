"""Whether the static files of a release are known to be in place."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from releaser.serving import static_files
from releaser.serving.static_files import are_in_place
from releaser.site.django_settings import StaticSettings
from releaser.site.in_force import InForce
from releaser.site.settings import AllSettings, Settings
from releaser.tools.django import StaticFiles


@pytest.fixture
def site(tmp_path: Path) -> Any:
    return SimpleNamespace(
        state_dir=tmp_path, settings=Settings(), project=SimpleNamespace(root=tmp_path / "outer" / "site")
    )


def collect(site: Any, release: str, sources: str) -> Path:
    """Note that a release has collected its files; return its venv."""
    sheet = site.state_dir / "style.css"
    sheet.write_text(sources, encoding="utf-8")
    venv: Path = site.state_dir / release / "venv"
    venv.mkdir(parents=True, exist_ok=True)
    found = StaticFiles(installed=True, place=site.state_dir, sources=sources, files=(str(sheet),), manifest="")
    static_files._note(site, venv, found)
    return venv


CHANGES: dict[str, Callable[[Any], object]] = {
    "replaced": lambda site: (site.state_dir / "style.css").write_text("blue"),
    "deleted": lambda site: (site.state_dir / "style.css").unlink(),
    "variables": lambda site: (site.project.root.parent / ".env").touch(),
    "hook": lambda site: setattr(site, "settings", StaticSettings(after_static=("true",))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_those_of_another_release_are_in_place_if_they_are_the_same_and_nobody_touched_them(
    site: Any, change: str
) -> None:
    site.project.root.mkdir(parents=True)
    first = collect(site, "first", "red")
    second = collect(site, "second", "red")
    assert are_in_place(cast("Any", site), first)
    third = collect(site, "third", "green")
    assert [are_in_place(site, one) for one in (first, second, third)] == [False, False, True]
    CHANGES[change](site)
    assert not are_in_place(site, third)


def test_a_commit_changes_after_static_only_once_it_is_live() -> None:
    settings: Any = AllSettings
    found: Any = InForce.of(settings(), settings(after_static=("make", "b")))
    assert (found.settings.after_static, [one.name for one in found.waiting]) == (None, ["after_static"])
