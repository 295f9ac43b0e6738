"""`init`: the first release of a project without a venv, and of one that has a venv already."""

import sys
from pathlib import Path

import pytest

from tests.e2e.scenes import BROKEN_CODE, mostly_slow, refused, says
from tests.support.sites import SampleSite, SiteFactory


def test_a_fresh_project_gets_its_first_release_from_the_committed_lock(fresh: SampleSite) -> None:
    fresh.publish("alpha", "1.1.0")  # newer than the lock: the first release brings no upgrade
    lock, head = fresh.lock(), fresh.head()
    answer = fresh.json("init")
    assert (answer["result"], answer["exit_code"], answer["previous"]) == ("updated", 0, None)
    assert answer["release"] == fresh.live()
    assert str(fresh.link.readlink()) == f"../.releaser/site/releases/{fresh.live()}/venv"
    assert fresh.versions() == {"alpha": "1.0.0", "beta": "1.0.0", "localtools": "1.0.0"}
    (tested,) = fresh.test_runs("passed")
    assert tested["prefix"] == str(fresh.link.resolve())
    assert fresh.restarted_at() is not None
    assert (fresh.lock(), fresh.head(), fresh.remote_head(), fresh.status()) == (lock, head, head, "")
    assert fresh.states() == {fresh.live(): "live"}
    assert fresh.python("import alpha; print(alpha.__version__)") == "1.0.0"


def test_a_second_init_changes_nothing(site: SampleSite) -> None:
    live = site.live()
    assert site.json("init")["result"] == "no-changes"
    assert (site.live(), len(site.releases())) == (live, 1)


@pytest.mark.slow
def test_a_first_release_that_fails_its_tests_does_not_go_live(make_site: SiteFactory) -> None:
    site = make_site(files=BROKEN_CODE)
    finished = site.releaser("init", check=5)
    says(finished, "the shop is closed")
    assert not site.link.is_symlink()
    assert not site.link.exists()
    assert list(site.states().values()) == ["failed"]
    assert site.restarted_at() is None
    site.push_commit("Open the shop", {"shop.py": "EDITION = 2\nBROKEN = False\n"})
    says(site.releaser("check", check=0), "fit for updates")  # as the next update, which tries another commit
    site.releaser("init", check=0)
    assert site.version("alpha") == "1.0.0"


def test_init_dry_run_writes_nothing(fresh: SampleSite) -> None:
    finished = fresh.releaser("init", "--dry-run", check=0)
    assert finished.stdout.strip() or finished.stderr.strip()
    assert not fresh.state.exists()
    assert not fresh.link.exists()


def made_by_uv(site: SampleSite) -> None:
    site.make_venv()


def made_by_pip(site: SampleSite) -> None:
    site.run(Path(sys.executable).resolve(), "-m", "venv", ".venv")
    options = ["--quiet", "--disable-pip-version-check", "--no-index", f"--find-links={site.index}"]
    site.run(site.link / "bin" / "pip", "install", *options, "alpha==1.0.0", "beta", "localtools")


def made_by_virtualenv(site: SampleSite) -> None:
    site.make_venv()
    settings = site.link / "pyvenv.cfg"
    lines = [line for line in settings.read_text(encoding="utf-8").splitlines() if not line.startswith("uv")]
    base = Path(sys.executable).resolve()
    lines += ["virtualenv = 20.36.1", f"base-prefix = {base.parent.parent}", f"base-executable = {base}"]
    settings.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (site.link / ".gitignore").unlink(missing_ok=True)


MAKERS = {"uv": made_by_uv, "virtualenv": made_by_virtualenv, "pip": made_by_pip}


@pytest.mark.parametrize("maker", mostly_slow(MAKERS, "uv"))
def test_a_venv_becomes_the_first_release_without_downtime_and_is_gone_back_to(fresh: SampleSite, maker: str) -> None:
    site = fresh
    MAKERS[maker](site)
    inode, versions = site.link.stat().st_ino, site.versions()
    head = site.head()
    answer = site.json("init")
    adopted = site.live()
    assert answer["release"] == adopted
    assert (site.link.stat().st_ino, site.versions()) == (inode, versions)  # the same directory, by another path
    assert site.restarted_at() is None
    assert (site.status(), site.head(), site.remote_head()) == ("", head, head)
    assert Path(site.python("import sys; print(sys.prefix)")) in (site.link, site.link.resolve())
    assert site.run(site.link / "bin" / "python", "run_tests.py").returncode == 0

    site.publish("alpha", "1.1.0")
    assert site.json("update")["previous"] == adopted
    assert (site.version("alpha"), site.version("beta")) == ("1.1.0", "1.0.0")
    assert site.json("rollback")["release"] == adopted
    assert (site.live(), site.link.stat().st_ino, site.versions()) == (adopted, inode, versions)


@pytest.mark.slow
def test_init_adopts_a_venv_whose_packages_are_older_than_the_lock(fresh: SampleSite) -> None:
    fresh.make_venv()
    fresh.publish("alpha", "1.1.0")
    fresh.uv("lock", "--quiet", "--upgrade")
    fresh.push_commit("Lock alpha 1.1.0")
    fresh.releaser("init", check=0)
    assert fresh.version("alpha") == "1.0.0"
    fresh.releaser("update", check=0)
    assert fresh.version("alpha") == "1.1.0"


@pytest.mark.parametrize("kind", ["empty directory", "directory of files", "file"])
def test_what_is_no_venv_is_not_adopted(fresh: SampleSite, kind: str) -> None:
    if kind == "file":
        fresh.link.write_text("mine", encoding="utf-8")
    else:
        fresh.link.mkdir()
        if kind == "directory of files":
            (fresh.link / "mine.txt").write_text("mine", encoding="utf-8")
    says(refused(fresh, "init"), ".venv")
    assert not fresh.link.is_symlink()


@pytest.mark.parametrize("command", ["rollback", "status", "list", "run"])
def test_commands_before_init_name_it(fresh: SampleSite, command: str) -> None:
    finished = fresh.releaser(command, *(["--", "true"] if command == "run" else []))
    if command == "list":
        assert finished.returncode == 0
    elif command == "status":
        assert finished.returncode == 10
        assert "releaser init" in finished.stdout + finished.stderr
    else:
        assert finished.returncode in {3, 9}, str(finished)
        says(finished, "releaser init")
    assert not fresh.link.exists()
