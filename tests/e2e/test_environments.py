"""The places where sites live: odd names, links, subdirectories, cron, shared groups; and the modes of state."""

import copy
import dataclasses
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.scenes import CODE, changed_files, mostly_slow, says, silent
from tests.support.commands import Identity, named_users, releaser_command, require, run
from tests.support.sample import SITE_TESTS
from tests.support.sites import SampleSite, SiteFactory, user_directory
from tests.unit.test_startup_module import find_interpreters

NAMES = ["srv with spaces/my site", "Grüße-日本/söte", "-dash/-n", 'it\'s/$HOME "x"', "a\\b/s%d{}"]


@pytest.mark.slow
@pytest.mark.parametrize("names", mostly_slow(NAMES, NAMES[1]))
def test_law_35_a_whole_life_under_odd_names(make_site: SiteFactory, names: str) -> None:
    outer, name = names.split("/")
    site = make_site(outer=outer, name=name)
    site.releaser("init", check=0)
    site.push_from_elsewhere({**CODE, "photos/a cät.txt": "a cat\n"})
    site.update_to("1.1.0")
    assert site.python("import alpha; print(alpha.__version__)") == "1.1.0"
    assert (site.remote_head(), site.status()) == (site.head(), "")
    silent(site.releaser("update"))
    site.releaser("rollback", check=0)
    assert (site.version("alpha"), site.status()) == ("1.0.0", "")
    assert len(site.json("list")) == 2
    site.releaser("prune", check=0)


def test_law_35_cron_s_bare_environment(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    words = [*releaser_command(), "update", "--project", str(site.path)]
    run(words, cwd=Path("/"), env={"PATH": "/usr/bin:/bin", "LANG": "C"}, check=0)
    assert site.version("alpha") == "1.1.0"
    silent(run(words, cwd=Path("/"), env={"PATH": "/usr/bin:/bin", "LANG": "C"}))


@pytest.mark.slow
def test_law_35_a_project_behind_a_symlink(make_site: SiteFactory) -> None:
    site = make_site()
    real = site.base / "data" / "real"
    real.parent.mkdir()
    site.path.rename(real)
    shutil.copytree(site.index, real.parent / "index")
    shutil.copy(site.outer / ".env", real.parent / ".env")
    site.path.symlink_to(real)
    site.releaser("init", check=0)
    assert site.python("import alpha; print(alpha.__version__)") == "1.0.0"
    site.publish("alpha", "1.1.0")
    shutil.copytree(site.index, real.parent / "index", dirs_exist_ok=True)
    site.releaser("update", check=0)
    assert site.python("import alpha; print(alpha.__version__)") == "1.1.0"
    site.releaser("rollback", project=real, check=0)
    assert (site.python("import alpha; print(alpha.__version__)"), site.status()) == ("1.0.0", "")


@pytest.mark.slow
def test_law_35_a_project_in_a_subdirectory_of_its_repository(make_site: SiteFactory) -> None:
    site = make_site()
    top = site.outer
    site.git("rm", "-r", "--quiet", "--cached", ".")
    (site.path / ".git").rename(top / ".git")
    (top / ".gitignore").write_text("/index\n/.env\n", encoding="utf-8")
    (top / "README").write_text("Two things.\n", encoding="utf-8")
    site.edit("../common/__init__.py", "")
    site.edit("site_tests.py", f"import sys\nsys.path.insert(0, '..')\nimport common\n{SITE_TESTS}")
    site.git("add", "--all", cwd=top)
    site.git("commit", "--quiet", "--message", "Move the site into a directory", cwd=top)
    site.git("push", "--quiet", cwd=top)
    site.releaser("init", check=0)
    assert (site.status(), site.version("alpha")) == ("", "1.0.0")
    site.update_to("1.1.0")
    assert (site.version("alpha"), changed_files(site), site.status()) == ("1.1.0", {"site/uv.lock"}, "")
    assert site.remote_head() == site.head()

    clone = site.base / "clone"
    site.git("clone", "--quiet", site.remote, clone, cwd=site.base)
    (clone / "README").write_text("Three things.\n", encoding="utf-8")
    (clone / "site" / "shop.py").write_text(CODE["shop.py"], encoding="utf-8")
    site.git("commit", "--quiet", "--all", "--message", "Count", cwd=clone)
    site.git("push", "--quiet", cwd=clone)
    site.releaser("update", check=0)
    assert (top / "README").read_text(encoding="utf-8") == "Three things.\n"
    silent(site.releaser("update"))
    site.releaser("rollback", check=0)
    assert ((top / "README").read_text(encoding="utf-8"), site.status()) == ("Two things.\n", "")

    site.git("rm", "-r", "--quiet", "common", cwd=clone)  # the tests import it
    site.git("commit", "--quiet", "--message", "Tidy up", cwd=clone)
    site.git("push", "--quiet", cwd=clone)
    says(site.releaser("update", check=5), "No module named 'common'")


@pytest.mark.slow
@pytest.mark.parametrize("other", [".python-version", "UV_PYTHON"])
def test_law_11_the_setting_for_python_outweighs_what_uv_finds(make_site: SiteFactory, other: str) -> None:
    own, *others = [path for path in find_interpreters() if path.name in ("python3.11", "python3.12", "python3.13")]
    chosen = next((path for path in others if path.name != own.name), own)
    require(chosen != own, "two interpreters are needed")
    site = make_site(files={other: own.name.removeprefix("python")} if other.startswith(".") else {})
    site.env |= {"PATH": f"{site.env['PATH']}:{chosen.parent}", other: str(own)}  # no program reads the one with a dot
    site.write_dotenv(python=chosen.name.removeprefix("python"))
    site.releaser("init", check=0)
    silent(site.releaser("update"))
    site.update_to("1.1.0")
    version = site.python("import _releaser, platform; print(platform.python_version())")
    assert (site.json("list")[0]["python"], f"python{version}".rpartition(".")[0]) == (version, chosen.name)


def modes(site: SampleSite) -> Iterator[tuple[Path, bool, int, int]]:
    """Give path, kind (True for a directory), mode and group of all state but venvs, uv's cache and symlinks."""
    for place, directories, files in os.walk(site.state):
        directories[:] = [name for name in directories if name not in ("venv", "cache")]
        for path in (Path(place), *(Path(place, name) for name in files)):
            status = path.lstat()
            if not path.is_symlink():
                yield path.relative_to(site.state), path.is_dir(), stat.S_IMODE(status.st_mode), status.st_gid


@pytest.mark.slow
def test_law_30_state_is_for_the_owner(make_site: SiteFactory) -> None:
    site = make_site()
    site.path.chmod(0o755)
    os.umask(0o002)  # a umask that gives more away changes nothing
    try:
        site.releaser("init", check=0)
        site.update_to("1.1.0")
        site.releaser("rollback", check=0)
    finally:
        os.umask(0o022)
    for path, _, mode, _ in modes(site):
        if path in (Path(), Path("releases")) or path.parent == Path("releases"):
            assert (mode & 0o022, mode & 0o5) == (0, 0o5), f"{path}: {mode:o}"  # the web server reads the venv
        elif path.name == "lease":
            assert mode == 0o444, f"{path}: {mode:o}"
        else:
            assert mode & 0o077 == 0, f"{path}: {mode:o}"
    venv = site.link.resolve()
    for file in (venv / "pyvenv.cfg", next(venv.glob("lib/python*/site-packages/alpha/__init__.py"))):
        assert stat.S_IMODE(file.stat().st_mode) & 0o044 == 0o044


@pytest.mark.slow
def test_law_30_a_site_that_a_group_shares_is_kept_by_all_of_its_members(
    make_site: SiteFactory, ordinary_user: Identity | None
) -> None:
    require(ordinary_user, "only root can make users")
    assert ordinary_user is not None
    with named_users(ordinary_user.programs, "ada", "bob") as (ada, bob), user_directory() as base:
        site = make_site.of_user(ada, base, share)
        colleague = copy.copy(site)
        colleague.user = bob
        colleague.env = site.env | {"HOME": str(base), "SITE_RECORD": str(base / "somewhere" / "bob.jsonl")}
        site.publish("alpha", "1.1.0")
        site.git("config", "--global", "safe.directory", site.remote)  # git asks whose a remote on this host is
        share(site)  # the index, too
        colleague.releaser("update", check=0)
        site.releaser("rollback", check=0)
        colleague.releaser("unhold", "alpha", check=0)
        site.releaser("update", check=0)
        answers = [each.json("status") for each in (site, colleague)]
        assert [answer["well"] for answer in answers] == [True, True], answers
        assert (site.version("alpha"), site.status(), site.remote_head()) == ("1.1.0", "", site.head())
        for path, is_directory, mode, gid in modes(site):
            assert gid == ada.shared_group, f"{path} is of group {gid}"
            if path.name == "lease":
                assert mode == 0o444, f"{path}: {mode:o}"
            elif is_directory:
                assert mode & 0o2770 == 0o2770, f"{path}: {mode:o}"
            else:
                assert mode == 0o660 or "releases" in path.parts, f"{path}: {mode:o}"
        venv = site.link.resolve()
        module = next(venv.glob("lib/python*/site-packages/alpha/__init__.py"))
        assert (module.stat().st_gid, module.stat().st_mode & 0o040) == (ada.shared_group, 0o040)
        assert stat.S_IMODE((site.path / "uv.lock").stat().st_mode) & 0o060 == 0o060
        site.releaser("uninstall", check=0)
        assert not [path for path in site.link.rglob("*.py") if not path.stat().st_mode & stat.S_IWGRP]


def share(site: SampleSite) -> None:
    """Let the group of the site's user write everything, as with a umask of 002 and setgid directories."""
    assert site.user is not None
    for place, directories, files in os.walk(site.base):
        for path in (Path(place, name) for name in (".", *directories, *files)):
            if not path.is_symlink() and ".releaser" not in path.parts:
                os.chown(path, -1, site.user.shared_group or -1)
                path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o060))
    site.base.chmod(0o755)


@pytest.mark.slow
def test_law_30_a_private_group_shares_nothing(make_site: SiteFactory, ordinary_user: Identity | None) -> None:
    """Debian gives each user a group, and Ubuntu a umask of 002: what that group may write is the owner's alone."""
    require(ordinary_user, "only root can make users")
    assert ordinary_user is not None

    def open_to_group(site: SampleSite) -> None:
        site.run("chmod", "-R", "g+w", site.outer)

    with named_users(ordinary_user.programs, "ada") as (ada,), user_directory() as base:
        site = make_site.of_user(dataclasses.replace(ada, shared_group=None), base, open_to_group)
        message = site.path / ".git" / "COMMIT_EDITMSG"  # root has committed here
        message.write_text("Tidy up\n", "utf-8")
        message.chmod(0o600)
        os.chown(message, 0, 0)
        site.update_to("1.1.0")
        site.releaser("rollback", check=0)
        assert stat.S_IMODE((site.state / "history.jsonl").stat().st_mode) == 0o600
