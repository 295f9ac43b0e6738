"""Bundles, where no site is needed."""

from __future__ import annotations

import hashlib
import io
import tarfile
import textwrap
from typing import TYPE_CHECKING

import pytest

from releaser.bundles.code_archive import differing, unpack_code, write_code
from releaser.bundles.wheels import lacks
from releaser.errors import PreflightError
from releaser.locks.lock import LockFile
from releaser.pipelines.bundle_create import _requirements
from releaser.pipelines.bundle_from import parse_source
from releaser.site.conventions import needed_groups
from releaser.site.site import open_site

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("source", "url", "ref"),
    [
        ("https://example.org/shop.git@v1.2", "https://example.org/shop.git", "v1.2"),
        ("https://me:secret@example.org/shop", "https://me:secret@example.org/shop", "HEAD"),
        ("https://me:secret@example.org/shop@main", "https://me:secret@example.org/shop", "main"),
        ("ssh://git@example.org/shop@feature/x", "ssh://git@example.org/shop", "feature/x"),
        ("git@example.org:shop.git", "git@example.org:shop.git", "HEAD"),
        ("git@example.org:shop.git@main", "git@example.org:shop.git", "main"),
        ("/srv/shop", "/srv/shop", "HEAD"),
    ],
)
def test_a_repository_may_have_a_user_and_a_branch(source: str, url: str, ref: str) -> None:
    assert parse_source(source) == (url, ref)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil", tarfile.REGTYPE),
        ("/tmp/evil", tarfile.REGTYPE),
        ("a//b", tarfile.REGTYPE),
        ("good", tarfile.REGTYPE),
        (".git/config", tarfile.REGTYPE),
        ("sub/.GIT/hooks/post-checkout", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE),
        ("link", tarfile.LNKTYPE),
        ("device", tarfile.CHRTYPE),
        ("pipe", tarfile.FIFOTYPE),
        ("directory", tarfile.DIRTYPE),
    ],
)
def test_code_has_nothing_but_plain_files_of_its_own(tmp_path: Path, name: str, kind: bytes) -> None:
    file, place = tmp_path / "code.tar", tmp_path / "place"
    place.mkdir()
    with tarfile.open(file, "w") as archive:
        for one, of in (("good", tarfile.REGTYPE), (name, kind)):
            entry = tarfile.TarInfo(one)
            entry.type, entry.linkname = of, "good"
            archive.addfile(entry, io.BytesIO())
    with pytest.raises(PreflightError, match="its code has"):
        unpack_code(file, place)
    assert list(place.iterdir()) == []


def test_code_is_compared_with_what_is_there(tmp_path: Path) -> None:
    file, place, there = tmp_path / "code.tar", tmp_path / "place", tmp_path / "there"
    place.mkdir()
    (there / "a").mkdir(parents=True)
    (there / "a" / "b.py").write_text("b")
    (there / "c.py").write_text("c")
    write_code(file, there, ["c.py", "a/b.py"])
    unpack_code(file, place)
    assert differing(file, place) == []
    (place / "c.py").write_text("mine")
    (place / "a" / "b.py").unlink()
    assert differing(file, place) == ["a/b.py", "c.py"]


LOCK = b"""version = 1
requires-python = ">=3.11"

[[package]]
name = "shop"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "alpha" }]

[package.dev-dependencies]
checks = [{ name = "beta" }]
prod = [{ name = "gamma" }]

[package.metadata.requires-dev]
checks = [{ name = "beta" }]
prod = [{ name = "gamma" }]
""" + b"".join(
    b'[[package]]\nname = "%s"\nversion = "1.0.0"\nsource = { registry = "https://example.org/simple" }\n' % name
    for name in (b"alpha", b"beta", b"gamma")
)


def test_wheels_that_only_the_tests_need_are_missed_before_anything_is_unpacked(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "pyproject.toml").write_text(
        """[project]\nname = "shop"\nversion = "1"\n[dependency-groups]\nchecks = ["beta"]\nprod = ["gamma"]\n"""
        """[tool.releaser]\ntest_groups = ["checks"]\ngit = false\n"""
    )
    site, lock = open_site(root, {}), LockFile.parse(LOCK)
    wheels, python = ["alpha-1.0.0-py3-none-any.whl"], "3.11.0"
    assert lacks(lock, needed_groups(site, lock, "prod"), python, wheels) == ["beta 1.0.0", "gamma 1.0.0"]
    assert lacks(lock, needed_groups(site, lock, None, tests=False), python, wheels) == []


def test_the_requirements_tell_for_which_python_a_version_is(tmp_path: Path) -> None:
    """A lock may have two versions of a package, and builds may need a third; pip would refuse them all."""
    text = """\
        version = 1
        [[package]]
        name = "soup-sieve"
        version = "2.10"
        resolution-markers = ["python_full_version < '3.11.5'", "sys_platform == 'win32'"]
        [[package]]
        name = "soup-sieve"
        version = "4.1.2"
        resolution-markers = ["python_full_version >= '3.11.5'"]
        [[package]]
        name = "alpha"
        version = "1.0.0"
        """
    lock = LockFile.parse(textwrap.dedent(text).encode())
    names = ("soup_sieve-2.10", "soup_sieve-4.1.2", "soup_sieve-3.0", "alpha-1.0.0", "hatchling-1.0")
    place = tmp_path / "any.whl"
    place.write_bytes(b"")
    files = {f"wheels/{name}-py3-none-any.whl": place for name in names}
    hashed = f"--hash=sha256:{hashlib.sha256(b'').hexdigest()}"
    assert _requirements(files, lock).splitlines() == [
        f"alpha==1.0.0 {hashed}",
        f"soup-sieve==2.10 ; (python_full_version < '3.11.5') or (sys_platform == 'win32') {hashed}",
        f"soup-sieve==4.1.2 ; (python_full_version >= '3.11.5') {hashed}",
    ]
