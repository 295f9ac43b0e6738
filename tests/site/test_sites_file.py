"""The file that names the sites of a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from releaser.errors import PreflightError
from releaser.site.sites_file import read_sites


def write(directory: Path, text: str) -> Path:
    file = directory / "sites.toml"
    file.write_text(text)
    return file


def test_sites_are_named_by_paths_and_patterns_in_order(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "srv" / name).mkdir(parents=True)
    for name in ("b", "a"):
        (tmp_path / "srv" / name / "pyproject.toml").touch()
    text = f"""
        jobs = 2
        first = ["{tmp_path}/srv/b/"]
        settings = {{ min_age = "7d", audit = true, keep = 3 }}
        [[site]]
        path = "{tmp_path}/srv/*"
        group = "shops"
        [[site]]
        path = "{tmp_path}/srv/a"
        group = "old"
        settings = {{ keep = 5 }}
        [[site]]
        path = "{tmp_path}/none/*"
    """
    found = read_sites(write(tmp_path, text.replace("audit = true, ", "git_hooks = true, ")))
    assert [(one.path.name, sorted(one.groups), one.goes_first) for one in found.sites] == [
        ("b", ["shops"], True),
        ("a", ["old", "shops"], False),
    ]
    assert found.sites[0].settings == {
        "RELEASER_MIN_AGE": "7d",
        "RELEASER_GIT_HOOKS": "true",
        "RELEASER_KEEP": "3",
    }
    assert found.sites[1].settings["RELEASER_KEEP"] == "5"
    assert (found.jobs, found.missing) == (2, (f"{tmp_path}/none/*",))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no site"),
        ("site = 5", "site must be a list"),
        ("[[site]]\ngroup = 'x'", r"\[\[site\]\] 1: path must be an absolute path"),
        ("[[site]]\npath = 'srv/x'", "path must be an absolute path .it is 'srv/x'"),
        ("[[site]]\npath = '/srv/x'\nsetings = {}", "there is no key setings; the keys are path, group, settings"),
        ("[[site]]\npath = '/srv/x'\nsettings = {keeps = 1}", "settings: there is no setting keeps"),
        ("[[site]]\npath = '/srv/x'\nsettings = {keep = [1]}", "keep must be written as in a variable"),
        ("[[site]]\npath = '/srv/x'\nsettings = {keep = 'many'}", "keep must be a whole number, .*it is 'many'"),
        ("jobs = 0\nfirst = ['/srv/x']", "jobs must be from 1 to 64"),
        ("jobs = true\nfirst = ['/srv/x']", "jobs must be a whole number"),
        ("first = ['x']", "first: 'x' is no absolute path"),
        ("first = ['/srv/x']\nmail_to = ['nobody']", "mail_to has a wrong item 1: the address 'nobody' has no @"),
        ("first = [", "cannot be read: "),
    ],
)
def test_what_is_wrong_is_named_and_the_file(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(PreflightError, match=says) as raised:
        read_sites(file)
    assert all(str(file) in one.message for one in raised.value.findings)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(PreflightError) as raised:
        read_sites(write(tmp_path, "jobs = 0\nx = 1\n[[site]]\n"))
    assert len(raised.value.findings) == 3


def test_a_file_that_everybody_could_have_written_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "first = ['/srv/x']")
    assert len(read_sites(file).sites) == 1
    file.chmod(0o666)
    with pytest.raises(PreflightError, match="can be written by everybody"):
        read_sites(file)
    file.chmod(0o644)
    tmp_path.chmod(0o777)
    with pytest.raises(PreflightError, match="can be written by everybody"):
        read_sites(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match=r"none.toml cannot be read: No such file") as raised:
        read_sites(tmp_path / "none.toml")
    assert "--sites" in raised.value.findings[0].advice
