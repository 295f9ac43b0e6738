"""No pushed setting or symlink makes releaser write outside the project.

Neither the export, nor the output of a build, nor the lock is written there. The update is refused.
"""

from pathlib import Path

import pytest

from tests.support.sites import SiteFactory
from tests.support.snapshots import tree

EXPORT = 'requirements_export = "reqs/out.txt"'
BUILD = 'before_build = "true"\nbuild_output = ["web/dist"]'


@pytest.mark.parametrize(
    ("name", "leads_to", "settings", "words"),
    [
        ("reqs", "", EXPORT, "requirements_export names reqs/out.txt, but a symlink leads from its directory to"),
        ("reqs", "", f'{EXPORT}\nupgrade = "none"', "requirements_export names reqs/out.txt, but a symlink leads"),
        ("web", "", BUILD, "build_output names web/dist, but a symlink leads from its directory to"),
        ("uv.lock", "uv.lock", "", "is a symlink to {theirs}/uv.lock, which is outside the repository"),
    ],
    ids=["export", "export where all is followed", "output of a build", "lock"],
)
def test_the_target_of_a_symlink_outside_of_the_project_is_neither_written_nor_used(
    make_site: SiteFactory, tmp_path: Path, name: str, leads_to: str, settings: str, words: str
) -> None:
    site, theirs = make_site.adopted(due="1.1.0"), tmp_path / "theirs"
    (theirs / "dist").mkdir(parents=True)
    for file, text in {"dist/page": "kept", "out.txt": "kept", "uv.lock": site.lock_text()}.items():
        (theirs / file).write_text(text, encoding="utf-8")
    before, clone = tree(theirs), site._clone_elsewhere()
    (clone / name).unlink(missing_ok=True)
    (clone / name).symlink_to(theirs / leads_to)
    with (clone / "pyproject.toml").open("a", encoding="utf-8") as pyproject:
        pyproject.write(f"\n[tool.releaser]\n{settings}\n")
    for command in (["add", "-A"], ["commit", "-q", "-m", "A link"], ["push", "-q"]):
        site._git(clone, *command)
    assert words.format(theirs=theirs) in site.releaser("update", check=3).stderr
    assert tree(theirs) == before
