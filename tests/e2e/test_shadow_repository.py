"""The repository in the state directory that has the code of a project that is not under git."""

import contextlib
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.e2e.scenes import silent, states
from tests.e2e.test_without_git import without_git
from tests.support.sites import SampleSite, SiteFactory

# A test command that compares the code of the staging tree with that of the site, and looks for a repository.
COMPARES = """\
import pathlib, subprocess, sys
here = pathlib.Path(__file__).parent
site = here.parent / "site"
for name in ("crlf.py", "ignored.py", "ident.py", "inner/plugin.py", "pkg/link.py"):
    if (here / name).read_bytes() != (site / name).read_bytes():
        sys.exit(f"{name} is another one in the staging tree")
    if (here / name).samefile(site / name):
        sys.exit(f"{name} is linked to that of visitors")
if not subprocess.run(["git", "-C", here, "rev-parse"], capture_output=True).returncode:
    sys.exit("there is a repository in the staging tree, which the site does not have")
"""
PEOPLE = """\
[core]
\thooksPath = {home}/hooks
\tautocrlf = true
\texcludesFile = {home}/ignored
[commit]
\tgpgSign = true
[init]
\ttemplateDir = {home}/template
\tdefaultBranch = trunk
[filter "shout"]
\tclean = tr a-z A-Z
\tsmudge = tr a-z A-Z
\trequired = true
"""


def shadow(site: SampleSite) -> Path:
    return site.state_dir / "shadow.git"


def git(site: SampleSite, *words: str) -> str:
    done = subprocess.run(["git", "--git-dir", shadow(site), *words], check=True, capture_output=True, text=True)
    return done.stdout


def recorded(site: SampleSite) -> set[str]:
    return {*git(site, "ls-tree", "-r", "--name-only", "HEAD").split()}


def objects(site: SampleSite) -> str:
    """Return all that the repository holds, whatever refers to it."""
    names = git(site, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)").splitlines()
    blobs = [name.split()[0] for name in names if name.endswith(" blob")]
    return "".join(git(site, "cat-file", "blob", one) for one in blobs)


def without_git_program(site: SampleSite) -> dict[str, str]:
    """Return a PATH with all programs of the host but git."""
    place = site.outer / "programs"
    place.mkdir()
    for directory in site.env["PATH"].split(os.pathsep):
        for name in os.listdir(directory):
            if not name.startswith("git"):
                with contextlib.suppress(FileExistsError):
                    (place / name).symlink_to(f"{directory}/{name}")
    return {"PATH": str(place)}


def lying(site: SampleSite) -> dict[str, bytes]:
    """Return what lies in the project, except for what an update is to change there."""
    found = {}
    for path in site.path.rglob("*"):
        name = str(path.relative_to(site.path))
        written = (".venv", "uv.lock", "config/tmp", "static_out", "__pycache__")  # by releaser and the site
        if path.is_file() and not name.startswith(written):
            found[name] = path.read_bytes()
    return found


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    return without_git(make_site(venv=True))


@pytest.mark.slow
def test_what_people_and_projects_set_for_git_changes_no_code_and_nothing_is_written_there(
    make_site: SiteFactory,
) -> None:
    site = without_git(make_site(venv=True, settings={"test_command": "python look.py"}, files={"look.py": COMPARES}))
    home = site.outer / "people"
    for name in ("hooks", "template/hooks"):
        (home / name).mkdir(parents=True)
        for hook in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change"):
            (home / name / hook).write_text(f"#!/bin/sh\ntouch {home}/was-run\nexit 1\n", encoding="utf-8")
            (home / name / hook).chmod(0o755)
    (home / "ignored").write_text("*.py\n", encoding="utf-8")
    (home / ".gitconfig").write_text(PEOPLE.format(home=home), encoding="utf-8")
    variables = {
        "HOME": str(home), "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": str(home / "hooks"), "GIT_DIR": "/nowhere",
    }  # fmt: skip
    (site.path / ".gitattributes").write_text(
        "*.py text eol=lf filter=shout\nident.py ident\nignored.py working-tree-encoding=UTF-16\n", encoding="utf-8"
    )
    (site.path / ".gitignore").write_text("ignored.py\ninner/\n", encoding="utf-8")
    (site.path / "crlf.py").write_bytes(b"x = 1\r\ny = 2\r\n")
    (site.path / "ignored.py").write_text("x = 1\n", encoding="utf-8")
    (site.path / "ident.py").write_text("x = '$Id$'\n", encoding="utf-8")
    (site.path / "pkg").mkdir()
    (site.path / "pkg" / "link.py").symlink_to("../crlf.py")
    inner = site.path / "inner"
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        person = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        inner.mkdir(exist_ok=True)
        subprocess.run(["git", "-C", inner, *person, *words], check=True)
    (inner / "plugin.py").write_text("x = 1\n", encoding="utf-8")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(site.path)  # the whole path is too long for a socket
        listener.bind("app.py")
        os.chdir(here)
        os.mkfifo(site.path / "pipe.py")
        before = lying(site)
        site.publish("alpha", "1.1.0")
        report = site.json("update", env=variables)
        assert (report["result"], site.live_version("alpha")) == ("updated", "1.1.0"), report["problems"]
        silent(site.releaser("update", env=variables))
    assert lying(site) == before
    assert {"crlf.py", "ignored.py", "inner/plugin.py", "pkg/link.py", "uv.lock"} <= recorded(site)
    assert not {"app.py", "pipe.py"} & recorded(site)
    assert not (home / "was-run").exists()
    assert git(site, "log", "--format=%an <%ae>").startswith("releaser <releaser@")
    assert git(site, "remote") == ""


def test_secrets_and_data_stay_out_and_what_is_deleted_goes_and_all_is_private(site: SampleSite) -> None:
    files = {".env": "PASSWORD=hunter2-env", "media/a.py.jpg": "hunter2-media", "db.sqlite3": "hunter2-db"}
    for name, text in {**files, "local.py": "KEY = 'hunter2-code'"}.items():
        site.edit(name, text)
    (site.path / "large.py").write_text("# hunter2-large\n" * 100_000, encoding="utf-8")
    site.releaser("update", check=0)
    assert stat.S_IMODE(shadow(site).stat().st_mode) == 0o700
    assert "hunter2-code" in objects(site)
    assert not [word for word in ("env", "media", "db", "large") if f"hunter2-{word}" in objects(site)]
    (site.path / "local.py").unlink()
    silent(site.releaser("update"))
    assert "hunter2" not in objects(site)
    assert git(site, "rev-list", "--count", "HEAD").strip() == "1"


def test_a_project_that_comes_under_git_needs_it_no_more(site: SampleSite) -> None:
    site.releaser("update", check=0)
    first = site.live_id()
    assert shadow(site).is_dir()
    site.write_dotenv({"RELEASER_GIT_PULL": "false", "RELEASER_GIT_PUSH": "false"})
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "x"]):
        site.git("-c", "user.name=a", "-c", "user.email=a@example.org", *words)
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert (report["result"], report["problems"]) == ("updated", [])
    assert report["commit"] == site.git("rev-parse", "HEAD^")
    assert not shadow(site).exists()
    site.releaser("rollback", first, check=0)
    assert site.live_id() == first


def test_without_the_program_an_update_says_what_to_install_and_a_rollback_works(site: SampleSite) -> None:
    site.releaser("update", check=0)
    first = site.live_id()
    site.update_to("alpha", "1.1.0")
    gone = without_git_program(site)
    for command in ("update", "check", "rebuild"):
        (told,) = site.json(command, check=3, env=gone)["problems"]
        assert told.startswith("git is not on PATH"), told
        assert "apt install git" in told
    assert site.json("status", env=gone)["problems"] == []
    report = site.json("rollback", env=gone)
    assert (report["release"], report["problems"], site.live_version("alpha")) == (first, [], "1.0.0")
    site.releaser("prune", check=0, env=gone)


def test_of_releases_from_before_it_the_code_is_not_known(site: SampleSite) -> None:
    """An earlier version has recorded other digests of the code, and left notes of its staging trees."""
    site.releaser("update", check=0)
    first = site.live_id()
    site.update_to("alpha", "1.1.0")
    for manifest in site.state_dir.glob("releases/*/manifest.json"):
        text = manifest.read_text(encoding="utf-8").replace('"code_key": "', '"code_key": "0')
        manifest.write_text(text, encoding="utf-8")
    shutil.rmtree(shadow(site))
    (site.state_dir / "staging-live").write_text(f"{site.outer}/.site.releaser-staging-live", encoding="utf-8")
    silent(site.releaser("update"))
    assert site.json("rollback")["problems"] == []
    assert [*states(site).values()] == ["rolled-back", "live"]
    assert site.live_id() == first
    site.releaser("uninstall", "--yes", check=0)
    assert not [*site.state_dir.glob("s*")]
