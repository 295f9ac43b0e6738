"""No pushed setting or symlink makes releaser write outside of the project.

Neither the export, nor the output of a build, nor the lock is written there. The update is refused.
"""

from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.sites import SampleSite, SiteFactory

PERSON = ("-c", "user.name=Eve", "-c", "user.email=eve@example.org")


def push_symlink(site: SampleSite, tmp_path: Path, name: str, target: Path, settings: str = "") -> None:
    """Push a commit with a symlink in it, which a person's own clone makes, and with these settings."""
    clone = tmp_path / "elsewhere"
    run(["git", "clone", "-q", site.remote, clone], cwd=tmp_path, env=site.env, check=0)
    (clone / name).unlink(missing_ok=True)
    (clone / name).symlink_to(target)
    if settings:
        with (clone / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write(f"\n[tool.releaser]\n{settings}\n")
    for words in (["add", "-A"], ["commit", "-q", "-m", "A link"], ["push", "-q"]):
        run(["git", *PERSON, *words], cwd=clone, env=site.env, check=0)


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in directory.iterdir() if path.is_file()}


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A directory outside of the project that its owner may write."""
    directory = tmp_path / "theirs"
    (directory / "dist").mkdir(parents=True)
    (directory / "out.txt").write_text("not of this project\n", encoding="utf-8")
    return directory


@pytest.mark.parametrize("upgrade", ["all", "none"])
def test_the_export_does_not_follow_a_symlink_out_of_the_project(
    make_site: SiteFactory, tmp_path: Path, theirs: Path, upgrade: str
) -> None:
    site = make_site.adopted(due="1.1.0")
    push_symlink(site, tmp_path, "reqs", theirs, f'requirements_export = "reqs/out.txt"\nupgrade = "{upgrade}"')
    finished = site.releaser("update", check=3)
    assert "requirements_export names reqs/out.txt, but a symlink leads from its directory to" in finished.stderr
    assert contents(theirs) == {"out.txt": "not of this project\n"}


def test_the_output_of_a_build_neither_replaces_nor_takes_what_a_symlink_leads_to(
    make_site: SiteFactory, tmp_path: Path, theirs: Path
) -> None:
    site = make_site.adopted(due="1.1.0")
    (theirs / "dist" / "page").write_text("kept", encoding="utf-8")
    push_symlink(site, tmp_path, "web", theirs, 'before_build = "true"\nbuild_output = ["web/dist"]')
    finished = site.releaser("update", check=3)
    assert "build_output names web/dist, but a symlink leads from its directory to" in finished.stderr
    assert not (theirs / "dist").is_symlink()
    assert contents(theirs / "dist") == {"page": "kept"}


def test_the_lock_is_not_written_through_a_symlink_out_of_the_project(
    make_site: SiteFactory, tmp_path: Path, theirs: Path
) -> None:
    site = make_site.adopted(due="1.1.0")
    before = site.lock_text()
    (theirs / "uv.lock").write_text(before, encoding="utf-8")
    push_symlink(site, tmp_path, "uv.lock", theirs / "uv.lock")
    finished = site.releaser("update", check=3)
    assert f"is a symlink to {theirs / 'uv.lock'}, which is outside the repository" in finished.stderr
    assert (theirs / "uv.lock").read_text(encoding="utf-8") == before
