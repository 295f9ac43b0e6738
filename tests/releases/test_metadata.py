"""What packages in a venv say of themselves, however badly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from releaser.releases.metadata import link_of, metadata_of

if TYPE_CHECKING:
    from pathlib import Path


def install(venv: Path, name: str, text: str | bytes) -> Path:
    """Put metadata alone into a venv, as text below the name and the version."""
    place = venv / "lib" / "python3.12" / "site-packages" / f"{name}-1.0.dist-info"
    place.mkdir(parents=True)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    (place / "METADATA").write_bytes(head.encode() + (text.encode() if isinstance(text, str) else text))
    return place


def urls(*labels: str) -> str:
    return "".join(f"Project-URL: {label}, https://example.org/{number}\n" for number, label in enumerate(labels))


@pytest.mark.parametrize(
    ("said", "link"),
    [
        (urls("Homepage", "Changelog"), "https://example.org/1"),
        (urls("Source", "Release Notes", "Homepage"), "https://example.org/1"),
        (urls("Source", "What's New?"), "https://example.org/1"),
        (urls("change_log", "HISTORY"), "https://example.org/0"),
        (urls("Release notes", "Changes"), "https://example.org/1"),
        (urls("Source Code", "Home-Page"), "https://example.org/1"),
        (urls("Issues", "GitHub"), "https://example.org/1"),
        (urls("Docs"), "https://example.org/0"),
        (urls("Funding", "Issues"), None),
        ("Home-page: https://example.org/home\n", "https://example.org/home"),
        ("Home-page: https://example.org/home\n" + urls("Changelog"), "https://example.org/0"),
        ("Home-page: UNKNOWN\n" + urls("Repository"), "https://example.org/0"),
        ("Project-URL: Changelog, javascript:alert(1)\n" + urls("Homepage"), "https://example.org/0"),
        ("", None),
    ],
)
def test_the_link_is_the_best_that_there_is(tmp_path: Path, said: str, link: str | None) -> None:
    install(tmp_path, "alpha", said)
    assert link_of(tmp_path, "alpha") == link


@pytest.mark.parametrize(
    "text",
    [
        b"Project-URL: \xff\xfe\n",
        b"\0\0\0",
        b"Project-URL: Changelog\n",
        b"Project-URL: ,,,\n",
        b"Project-URL: a, b\nProject-URL: a, c\n",
        b"Home-page: https://[\n",
        b"\n" * 10_000,
        b": : :\n",
    ],
)
def test_garbage_is_no_link_and_no_failure(tmp_path: Path, text: bytes) -> None:
    install(tmp_path, "alpha", text)
    assert link_of(tmp_path, "alpha") is None


def test_what_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert metadata_of(tmp_path, "alpha") == {}
    place = install(tmp_path, "alpha", "")
    assert metadata_of(tmp_path, "beta") == {}
    (place / "METADATA").unlink()
    (place / "METADATA").mkdir()
    assert metadata_of(tmp_path, "alpha") == {}


def test_a_package_is_found_however_its_name_is_spelled(tmp_path: Path) -> None:
    install(tmp_path, "Zope_Interface", urls("Changelog"))
    assert link_of(tmp_path, "zope-interface") == "https://example.org/0"
