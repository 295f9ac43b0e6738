"""Root does not run files that others plant in a project of root, or above it."""

import os
from pathlib import Path

import pytest

from tests.attacks.people import STRANGER, People
from tests.attacks.test_ownership import a_trap, mark, marks
from tests.support.sites import SampleSite

SETTINGS = """\
RELEASER_SENDMAIL={}
RELEASER_ADMINS='["eve@example.org"]'
"""
__all__ = ["mark"]


@pytest.mark.parametrize("leads_to", ["/usr", "/usr/gone", None])
def test_a_dotenv_next_to_a_directory_that_is_no_project_is_not_read(
    people: People, owned: SampleSite, mark: Path, leads_to: str | None
) -> None:
    stranger = people.of(STRANGER)
    home = Path(stranger.pw_dir)
    trap, link = a_trap(home / "sendmail", mark), home / "site"
    (home / ".env").write_text(SETTINGS.format(trap), encoding="utf-8")
    link.unlink(missing_ok=True)
    if leads_to:
        link.symlink_to(leads_to)
    for place in (trap, home / ".env", link):
        if os.path.lexists(place):
            os.chown(place, stranger.pw_uid, stranger.pw_gid, follow_symlinks=False)
    for variables in ({}, {"RELEASER_ADMINS": '["ada@example.org"]', "RELEASER_SENDMAIL": "none"}):
        finished = people.by("root", owned, "update", "--project", link, env=variables, check=3)
        assert "live: unchanged" in finished.stderr
    assert (marks(mark), (home / ".releaser").exists()) == ("", False)


def test_a_project_of_another_user_in_a_shared_directory_is_not_run(
    people: People, owned: SampleSite, mark: Path
) -> None:
    place = people.base / "tmp"
    (place / "mine").mkdir(parents=True)
    place.chmod(0o1777)
    trap = a_trap(place / "uv", mark)
    names = ("pyproject.toml", "uv.lock", "uv.toml", ".git")
    for name in names:
        (place / name).write_text('tool.releaser.uv = "./uv"\n' if name == names[0] else "", encoding="utf-8")
    link = people.base / "link"
    link.symlink_to(place)
    for path in (trap, link, *(place / name for name in names)):
        os.chown(path, people.of(STRANGER).pw_uid, -1, follow_symlinks=False)
    for words in (["update"], ["check"], ["list"]):
        finished = people.by("root", owned, *words, "--project", place / "mine", check=3)
        assert f"all users can write to {place} (mode 1777)" in finished.stderr
    place.chmod(0o755)
    finished = people.by("root", owned, "update", "--project", link, check=3)
    assert f"{link} on the way to it to {STRANGER}" in finished.stderr
    for name in names:
        for words in (["update"], ["list"]):
            finished = people.by("root", owned, *words, "--project", place / "mine", check=3)
            assert f"{place / name} belongs to {STRANGER}" in finished.stderr
        os.chown(place / name, 0, 0)
    assert marks(mark) == ""
