"""The file that names the sites of a host."""

import os
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

import pytest

from releaser.errors import PreflightError
from releaser.fleet.sites_file import read_sites
from tests.reporting.makers import a_sendmail
from tests.support.commands import console_script, run
from tests.support.guards import require


def write(directory: Path, text: str) -> Path:
    file = directory / "sites.toml"
    file.write_text(text)
    return file


def kept(directory: Path) -> Path:
    """Make what looks like a site that releaser keeps."""
    (directory / "pyproject.toml").parent.mkdir(parents=True, exist_ok=True)
    (directory / "pyproject.toml").touch()
    state = directory.parent / ".releaser" / directory.name
    state.mkdir(parents=True)
    (state / "project.json").touch()
    return directory


def test_sites_are_named_by_paths_and_patterns_in_order(tmp_path: Path) -> None:
    a, b = kept(tmp_path / "srv" / "a"), kept(tmp_path / "srv" / "b")
    (tmp_path / "srv" / "nothing").mkdir()
    text = f"""
        jobs = 2
        first = ["{b}/"]
        mail_to = ["Ada <ada@example.org>"]
        mail = {{ smtp_host = "mail.example.org", smtp_password = "secret1234", smtp_port = 25 }}
        settings = {{ min_age = "7d", git_hooks = true, keep = 3 }}
        [[site]]
        path = "{tmp_path}/srv/*"
        group = "shops"
        [[site]]
        path = "{a}"
        group = "old"
        settings = {{ keep = 5 }}
    """
    found = read_sites(write(tmp_path, text))
    common = {"RELEASER_MIN_AGE": "7d", "RELEASER_GIT_HOOKS": "true"}  # how the summary is sent is none of theirs
    assert [(one.path, sorted(one.groups), one.goes_first, one.settings) for one in found.sites] == [
        (b, ["shops"], True, {**common, "RELEASER_KEEP": "3"}),
        (a, ["old", "shops"], False, {**common, "RELEASER_KEEP": "5"}),
    ]
    assert (found.jobs, found.warnings, found.mail_to[0].name) == (2, (), "Ada")
    assert (found.mail.smtp_host, found.mail.smtp_password) == ("mail.example.org", "secret1234")


def test_a_pattern_takes_only_what_releaser_keeps_and_nothing_by_a_symlink(tmp_path: Path) -> None:
    site, other = kept(tmp_path / "srv" / "a"), kept(tmp_path / "elsewhere" / "b")
    (tmp_path / "srv" / "b").symlink_to(other)
    clone = tmp_path / "srv" / "clone"
    clone.mkdir()
    (clone / "pyproject.toml").touch()
    kept(tmp_path / "srv" / ".a.releaser-staging")
    found = read_sites(write(tmp_path, f"[[site]]\npath = '{tmp_path}/srv/*'\n[[site]]\npath = '/nowhere/*'"))
    assert [one.path for one in found.sites] == [site]
    assert [one.partition(" ")[0] for one in found.warnings] == [str(tmp_path / "srv" / "b"), str(clone), "/nowhere/*"]
    assert found.refused == {}
    (tmp_path / "srv" / ".releaser" / "b").mkdir()
    (tmp_path / "srv" / ".releaser" / "b" / "project.json").touch()  # it was a site there
    again = read_sites(write(tmp_path, f"[[site]]\npath = '{tmp_path}/srv/*'"))
    assert again.refused == {str(tmp_path / "srv" / "b"): again.warnings[0]}
    listed = read_sites(write(tmp_path, f"first = ['{tmp_path}/srv/b']\n[[site]]\npath = '{other}'"))
    assert [(one.path, one.goes_first) for one in listed.sites] == [(other, True)]


def test_who_owns_a_directory_on_the_way_to_a_site_cannot_choose_another_one(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "only root can give files away")
    theirs = kept(tmp_path / "srv" / "theirs" / "a")
    own = kept(tmp_path / "own" / "a")
    for path, user in ((theirs, 4001), (theirs.parent, 4002), (own, 4001), (own.parent, 4001)):
        os.chown(path, user, user)
    (tmp_path / "own" / "link").symlink_to(theirs.parent)
    os.chown(tmp_path / "own" / "link", 4002, 4002, follow_symlinks=False)
    listed = "".join(f"[[site]]\npath = '{path}'\n" for path in (theirs, own, tmp_path / "own" / "link" / "a"))
    found = read_sites(write(tmp_path, listed))
    assert [one.path for one in found.sites] == [own]
    assert found.warnings[0] == f"{theirs} is ignored: {theirs.parent} does not belong to the owner of the site"
    assert [*found.refused.values()] == [*found.warnings]
    assert len(found.warnings) == 2
    # Of an update by cron no person reads warnings: it fails, and the summary names these sites.
    sendmail = a_sendmail(tmp_path / "bin")
    file = write(tmp_path, f"mail_to = ['ada@example.org']\nmail = {{ sendmail = '{sendmail}' }}\n{listed}")
    words: list[str | Path] = [console_script(), "update", "--sites", file, "--site-group", "none"]
    finished = run(words, cwd=tmp_path, env={"PATH": os.defpath, "HOME": str(tmp_path)}, check=3)
    assert f"warning: {file}: {found.warnings[0]}" in finished.stderr
    mail = message_from_bytes((tmp_path / "bin" / "sent").read_bytes(), policy=SMTP)
    assert "2 failed" in mail["Subject"]
    assert f"{theirs} is ignored" in " ".join(mail.get_content().split())
    with pytest.raises(PreflightError, match=r"first: .*theirs/a is ignored"):
        read_sites(write(tmp_path, f"first = ['{theirs}']"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lists no site"),
        ("site = 5", "site must be a list"),
        ("servers = [1]", "servers must be a table"),
        ("servers = {a = 5}", "servers: a must be an absolute path, or a URL"),
        ("servers = {a = 'srv/x.json'}", "servers: a must be an absolute path, or a URL"),
        ("servers = {a = 'file:///srv/x.json'}", "servers: a must be an absolute path, or a URL"),
        ("servers = {a = 'ftp://x.example/'}", "servers: a must be an absolute path, or a URL"),
        ("servers = {a = 'https://x.example:port/'}", "servers: a must be an absolute path, or a URL"),
        ("servers = {a = 'https://ann:x@x.example/'}", "a user or a password; write them to ~/.netrc"),
        ("[[site]]\ngroup = 'x'", r"\[\[site\]\] 1: path must be an absolute path"),
        ("[[site]]\npath = 'srv/x'", "path must be an absolute path .it is 'srv/x'"),
        ("[[site]]\npath = '/srv/x'\nsetings = {}", "unknown key setings; the keys are path, group, settings"),
        ("[[site]]\npath = '/srv/x'\nsettings = {keeps = 1}", "settings: unknown setting keeps"),
        ("[[site]]\npath = '/srv/x'\nsettings = {keep = [1]}", "keep must be written as in a variable"),
        ("[[site]]\npath = '/srv/x'\nsettings = {keep = 'many'}", "keep must be a whole number, .*it is 'many'"),
        ("first = ['/srv/*']", "first: '/srv/.' is not an absolute path"),
        ("first = ['/srv/x']\nsettings = {smtp_password = 'x'}", "smtp_password belongs in the .env of the site"),
        ("first = ['/srv/x']\nsettings = {state_dir = 'x'}", "state_dir belongs in the .env"),
        ("first = ['/srv/x']\nmail = {keep = 3}", "mail: unknown setting keep; the settings are mail_from, sendmail"),
        ("first = ['/srv/x']\nmail = {smtp_password_file = '/none'}", "smtp_password_file /none cannot be used"),
        ("jobs = 0\nfirst = ['/srv/x']", "jobs must be from 1 to 64"),
        ("jobs = true\nfirst = ['/srv/x']", "jobs must be a whole number"),
        ("first = ['x']", "first: 'x' is not an absolute path"),
        ("first = ['/srv/x']\nmail_to = ['nobody']", "mail_to has a wrong item 1: the address 'nobody' has no @"),
        ("first = [", "cannot be read: "),
        ("first = " + "[" * 9999, "cannot be read: "),
    ],
)
def test_what_is_wrong_is_named_and_the_file(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(PreflightError, match=says) as raised:
        read_sites(file)
    assert all(str(file) in one.message or "/none" in one.message for one in raised.value.findings)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(PreflightError) as raised:
        read_sites(write(tmp_path, "jobs = 0\nx = 1\n[[site]]\n"))
    assert len(raised.value.findings) == 3


def test_a_file_that_everybody_could_have_written_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "first = ['/srv/x']")
    assert len(read_sites(file).sites) == 1
    for mode in (0o666, 0o664):
        file.chmod(mode)
        with pytest.raises(PreflightError, match="can be written by others"):
            read_sites(file)
    file.chmod(0o644)
    (tmp_path / "link").symlink_to(tmp_path)
    assert len(read_sites(tmp_path / "link" / file.name).sites) == 1
    tmp_path.chmod(0o777)
    with pytest.raises(PreflightError, match="can be written by others"):
        read_sites(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match=r"none.toml cannot be read: No such file") as raised:
        read_sites(tmp_path / "none.toml")
    assert "--sites" in raised.value.findings[0].advice


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        ("", "cron@example.org"),
        ('[settings]\nmail_from = "all@example.org"\nkeep = 3\n', "all@example.org"),
        ('[settings]\nmail_from = "a@example.org"\n[mail]\nmail_from = "b@example.org"\n', "b@example.org"),
    ],
)
def test_the_summary_is_sent_as_the_mails_of_the_sites_are(tmp_path: Path, text: str, sender: str) -> None:
    environ = {"RELEASER_MAIL_FROM": "cron@example.org", "RELEASER_SMTP_HOST": "cron.example.org", "RELEASER_KEEP": "x"}
    found = read_sites(write(tmp_path, f'{text}[[site]]\npath = "/srv/a"\n'), environ).mail
    assert (found.mail_from, found.smtp_host, vars(found)["keep"]) == (sender, "cron.example.org", 5)
