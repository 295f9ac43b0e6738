"""Links to changelogs, none of which is a guess; and downloads that end in time."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.errors import ToolError
from releaser.locks.changes import Change
from releaser.locks.lock import LockFile
from releaser.releases.venv import About
from releaser.reporting import changelog
from releaser.reporting.changelog import find_link, list_upstream
from releaser.site.supply import Supply
from releaser.system.words import Redactor
from releaser.tools import web

SHOP = "https://github.com/shop/shop"


@pytest.mark.parametrize(
    ("urls", "link"),
    [
        ({"changelog": "https://shop.example/changes", "source": SHOP}, "https://shop.example/changes"),
        ({"changelog": f"{SHOP}/blob/main/CHANGES", "source": SHOP}, f"{SHOP}/blob/main/CHANGES"),
        ({"changelog": "javascript:alert(1)", "source": SHOP}, f"{SHOP}/releases"),
        ({"source": f"{SHOP}.git"}, f"{SHOP}/releases"),
        ({"homepage": f"{SHOP}/#readme"}, f"{SHOP}/releases"),
        ({"source": f"{SHOP}/tree/v1.2.0"}, f"{SHOP}/compare/v1.1.0...v1.2.0"),
        ({"docs": f"{SHOP}/blob/shop-1.2.0/README.md"}, f"{SHOP}/compare/shop-1.1.0...shop-1.2.0"),
        ({"source": f"{SHOP}/tree/v1.2"}, f"{SHOP}/releases"),
        ({"funding": "https://github.com/sponsors/ada"}, None),
        ({"repository": "https://gitlab.example/g/shop"}, "https://gitlab.example/g/shop/-/releases"),
        (
            {"source": "https://gitlab.example/g/shop/-/tree/1.2.0"},
            "https://gitlab.example/g/shop/-/compare/1.1.0...1.2.0",
        ),
        ({"homepage": "https://shop.example"}, None),
        ({"source": "https://user:secret@github.com/shop/shop"}, None),
        ({}, None),
    ],
)
def test_a_comparison_is_linked_only_if_a_tag_is_known(urls: dict[str, str], link: str | None) -> None:
    assert find_link(urls, "1.1.0", "1.2.0") == link


LOCK = b"""
version = 1

[[package]]
name = "alpha"
version = "1.1.0"
source = { registry = "https://index.example/simple" }
sdist = { url = "https://index.example/alpha-1.1.0.tar.gz", hash = "sha256:00", size = SIZE }

[[package]]
name = "beta"
version = "1.1.0"
source = { registry = "https://index.example/simple" }
sdist = { url = "https://index.example/beta-1.1.0.tar.gz", hash = "sha256:00", size = 10 }
"""
UPGRADES = tuple(Change(name=name, old="1.0.0", new="1.1.0", bump="minor", direct=True) for name in ("alpha", "beta"))


@pytest.mark.parametrize(
    ("size", "seconds", "asked", "facts"),
    [
        (b"10", 60.0, ["alpha", "beta"], {}),
        (b"10", 0.0, [], {}),
        (b"10", 1.0, ["alpha"], {}),  # which takes all of it
        (b"99000000", 60.0, ["beta"], {}),
        (b"10", 60.0, [], {"asks_others": False}),
    ],
)
def test_downloads_end_in_time_and_their_failures_harm_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: bytes,
    seconds: float,
    asked: list[str],
    facts: dict[str, Any],
) -> None:
    seen: list[str] = []
    now = time.monotonic()

    def get(place: str, *, timeout: float, **_: object) -> bytes:
        nonlocal now
        assert 0 < timeout <= min(10.0, seconds)
        seen.append(place.rpartition("/")[2].partition("-")[0])
        now += timeout
        message = "no answer"
        raise ToolError(message, timed_out=True)

    monkeypatch.setattr(web, "get", get)
    monkeypatch.setattr(changelog, "lock_of", lambda _: LockFile.parse(LOCK.replace(b"SIZE", size)))
    monkeypatch.setattr(changelog, "time", SimpleNamespace(monotonic=lambda: now))
    site: Any = SimpleNamespace(
        runner=SimpleNamespace(environ={"HOME": "/nowhere"}),
        supply=Supply(**facts),
        pyproject=SimpleNamespace(table=lambda *_: {}),
        project=SimpleNamespace(root=tmp_path),
    )
    release: Any = SimpleNamespace(venv=tmp_path, manifest=None)
    found = list(list_upstream(site, release, UPGRADES, seconds=seconds))
    assert [(one.name, one.text) for one in found] == [("alpha", ""), ("beta", "")]
    assert seen == asked


def test_a_screen_of_each_package_that_the_project_requires_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "\n".join(f"- Change {number}." for number in range(50))
    about = About(urls={}, description=f"## 1.1.0\n{lines}\n## 1.0.0\n- Old.\n")
    monkeypatch.setattr(changelog, "read_about", lambda *_: about)
    site: Any = SimpleNamespace(redactor=Redactor(["Change 7"]))
    release: Any = SimpleNamespace(venv=tmp_path)
    one, two = UPGRADES
    others = (replace(two, direct=False), replace(two, old=None), replace(two, new=None), replace(two, old="1.2.0"))
    (found,) = list_upstream(site, release, (one, *others), seconds=0)
    assert (len(found.text.splitlines()), found.more_lines, found.source) == (20, 31, "its metadata")
    assert "Change 7" not in found.text
    assert found.shown.splitlines()[-1] == "[... 31 more lines ...]"
