"""The names that `verify` counts of files that releases share."""

from pathlib import Path

from releaser.releases.contents import list_below
from releaser.releases.release import DOOMED, Release
from releaser.releases.verify import _find_shared
from tests.releases.makers import a_manifest, on_paper


def two_releases(place: Path) -> tuple[Release, Path]:
    """Return a release, and the module in another that is the same file."""
    one, other = (on_paper(place, a_manifest(number)) for number in (1, 2))
    for release in (one, other):
        release.venv.mkdir(parents=True)
    (one.venv / "alpha.py").write_text("", encoding="utf-8")
    (other.venv / "alpha.py").hardlink_to(one.venv / "alpha.py")
    return one, other.venv / "alpha.py"


def test_a_release_that_is_deleted_meanwhile_is_no_other_name(tmp_path: Path) -> None:
    release, other = two_releases(tmp_path)
    existing = list_below(str(release.venv), "")
    directory = other.parent.parent
    directory.rename(directory.with_name(DOOMED + directory.name))
    assert list(_find_shared(release, existing)) == []
    (directory.with_name(DOOMED + directory.name) / "venv" / "alpha.py").unlink()
    assert list(_find_shared(release, existing)) == []


def test_a_name_outside_the_releases_is_reported(tmp_path: Path) -> None:
    release, other = two_releases(tmp_path / "releases")
    (tmp_path / "cached.py").hardlink_to(other)
    (found,) = _find_shared(release, list_below(str(release.venv), ""))
    assert "another name outside" in found.message
