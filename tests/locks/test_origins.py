"""What differs between two locks though nobody has asked for it."""

import pytest

from releaser.locks.lock import LockFile
from releaser.locks.origins import find_deviations, unhashed_files, without_wheels_now

INDEX = 'registry = "https://index.example.org/simple"'


def lock(source: str = INDEX, version: str = "1.0", wheel: str = "sha256:aa", *, sdist: bool = False) -> LockFile:
    """Return a lock of alpha; `wheel` is the hash of its wheel, or empty."""
    lines = ["version = 1", "[[package]]", 'name = "alpha"', f'version = "{version}"', f"source = {{ {source} }}"]
    url = f"https://x/alpha-{version}-py3-none-any.whl"
    lines += [f'wheels = [{{ url = "{url}", hash = "{wheel}" }}]'] if wheel else []
    lines += [f'sdist = {{ url = "https://x/alpha-{version}.tar.gz", hash = "sha256:cc" }}'] if sdist else []
    return LockFile.parse("\n".join(lines).encode())


def deviations(before: LockFile, after: LockFile) -> list[tuple[str, str, str]]:
    found = find_deviations(before, after, files_before={}, files={})
    return [(one.what, one.old, one.new) for one in found]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (INDEX, False),
        ('registry = "https://user:secret@index.example.org/simple/"', False),  # whose password it is does not matter
        ('registry = "https://elsewhere.example.org/simple"', True),
        ('registry = "../index"', True),
        ('url = "https://elsewhere.example.org/alpha-1.0.whl"', True),
        ('git = "https://git.example.org/alpha?rev=1#0123"', True),
        ('editable = "../alpha"', False),  # that only the project itself can ask for
    ],
)
def test_another_index_is_told(source: str, told: bool) -> None:
    found = deviations(lock(), lock(source, "1.1"))
    assert [what for what, *_ in found] == ["index"] * told
    assert "secret" not in str(found)


def test_a_mirror_of_the_same_files_is_not_told_as_long_as_nothing_else_comes_from_either() -> None:
    mirror = 'registry = "https://mirror.example.org/simple"'
    assert deviations(lock(), lock(mirror)) == []
    assert [what for what, *_ in deviations(lock(), lock(mirror, wheel="sha256:bb"))] == ["index", "hash"]
    beta = '\n[[package]]\nname = "beta"\nversion = "2.0"\nsource = { %s }\n'
    for before, after, told in ((INDEX, INDEX, 1), (mirror, mirror, 1), (INDEX, mirror, 0)):
        old = LockFile.parse(lock().data + (beta % before).encode())
        new = LockFile.parse(lock(mirror).data + (beta % after).encode())
        assert len(deviations(old, new)) == told


def test_another_file_of_the_same_name_is_told_but_not_a_new_version_or_a_file_in_addition() -> None:
    assert deviations(lock(), lock(wheel="sha256:bb")) == [("hash", "sha256:aa", "sha256:bb")]
    assert deviations(lock(), lock(wheel="sha512:bb")) == [("hash", "sha256:aa", "sha512:bb")]
    assert deviations(lock(), lock(version="1.1", wheel="sha256:bb")) == []
    assert deviations(lock(), lock(sdist=True)) == []


def test_a_file_that_has_lost_its_hash_is_told_but_not_one_that_never_had_any() -> None:
    bare = LockFile.parse(lock().data.replace(b', hash = "sha256:aa"', b""))
    assert deviations(lock(), bare) == [("hash", "sha256:aa", "")]
    (one,) = find_deviations(lock(), bare, files_before={}, files={})
    assert "no longer has a hash" in str(one)
    assert deviations(bare, bare) == deviations(bare, lock()) == []
    mirrored = LockFile.parse(bare.data.replace(b"https://index.example.org", b"https://mirror.example.org"))
    assert deviations(bare, mirrored)[0][0] == "index"  # nothing proves that it is the same file


def test_another_file_at_the_url_that_is_the_source_is_told_whatever_version_it_has() -> None:
    there, elsewhere = (f'url = "https://{host}.example.org/alpha.whl"' for host in ("a", "b"))
    assert deviations(lock(there), lock(there, wheel="sha256:bb")) == [("hash", "sha256:aa", "sha256:bb")]
    assert deviations(lock(there), lock(there, "1.1", wheel="md5:bb")) == [("hash", "sha256:aa", "md5:bb")]
    assert deviations(lock(there), lock(elsewhere, wheel="sha256:bb")) == []  # that only the project can ask for


def test_files_of_directories_are_compared_by_what_was_noted() -> None:
    text = """version = 1
[[package]]
name = "alpha"
version = "1.0"
source = { registry = "../index" }
wheels = [{ path = "alpha-1.0-py3-none-any.whl" }]
"""
    found = LockFile.parse(text.encode())
    (key,) = unhashed_files(found)
    assert unhashed_files(found) == {key: "../index/alpha-1.0-py3-none-any.whl"}
    assert unhashed_files(lock()) == {}
    (one,) = find_deviations(found, found, files_before={key: "sha256=aa"}, files={key: "sha256=bb"})
    assert str(one) == (
        "alpha-1.0-py3-none-any.whl of alpha 1.0 is a different file now: sha256=bb instead of sha256=aa"
    )
    assert find_deviations(found, found, files_before={}, files={key: "sha256=bb"}) == ()
    assert find_deviations(found, found, files_before={key: "sha256=aa"}, files={}) == ()  # it is gone


def test_a_package_that_has_no_wheels_any_more_is_told() -> None:
    assert without_wheels_now(lock(), lock(version="1.1", wheel="", sdist=True)) == (("alpha", "1.0", "1.1"),)
    assert without_wheels_now(lock(wheel="", sdist=True), lock(version="1.1", wheel="", sdist=True)) == ()
    assert without_wheels_now(lock(), lock(version="1.1", sdist=True)) == ()
