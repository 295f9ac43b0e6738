"""Two administrators of one group, whose umask is the usual one: each goes on where the other stopped."""

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.scenes import changed_files, states
from tests.support.commands import Finished, run
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

GROUP, ADA, GRACE = 65534, 65533, 65532  # ids that need no names


def by(user: int, site: SampleSite, command: str, *args: str, check: int = 0) -> Finished:
    """Run releaser as one of the two users, who have a home and a cache of their own."""
    return run(words_of(user, site, command, *args), cwd=Path("/"), env=environment_of(user, site), check=check)


def words_of(user: int, site: SampleSite, command: str, *args: str) -> list[str]:
    become = ["setpriv", f"--reuid={user}", f"--regid={GROUP}", "--clear-groups", "sh", "-c"]
    script = 'umask 022; exec "$0" "$@"'
    return [*become, script, base_python(), str(script_of(site)), command, "--project", str(site.path), *args]


def environment_of(user: int, site: SampleSite) -> dict[str, str]:
    home = site.outer.parent / str(user)
    paths = {"HOME": str(home), "UV_CACHE_DIR": str(home / "cache"), "PYTHONPATH": str(script_of(site).parent.parent)}
    return site.environment({**paths, "SAMPLE_SITE_RUNS": str(home / "runs")})


def script_of(site: SampleSite) -> Path:
    """Return the `releaser` that each user of a site may start."""
    return Path(str(shutil.which("releaser", path=site.env["PATH"])))


def base_python() -> str:
    """Return an interpreter that both users can reach: that of the tests, if possible."""
    mine = Path(sys.executable).resolve()
    reachable = all(place.stat().st_mode & stat.S_IXOTH for place in (mine, *mine.parents))
    return str(mine) if reachable else f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"


@contextlib.contextmanager
def adas_site(
    templates: Templates, everybodys: Path, *, below: str | None = None, **settings: bool
) -> Iterator[SampleSite]:
    """Make a site of Ada's, with a start script that everybody may run."""
    require(os.geteuid() == 0 and shutil.which("setpriv"), "only root can become somebody else")
    require(Path(base_python()).exists(), "an interpreter that everybody may start is needed")
    base = Path(tempfile.mkdtemp(prefix="ada-", dir=below))  # pytest's own directories are for one user alone
    try:
        base.chmod(0o755)
        # Under this umask, Django's static files and git's FETCH_HEAD belong to who was first.
        own = {"python": base_python(), "collectstatic": "off", "git_pull": False}
        site = SiteFactory(base, templates)(settings={**own, **settings})
        site.env["PATH"] = f"{everybodys / 'bin'}:{site.env['PATH']}"
        give_to_group(site)
        yield site
    finally:
        shutil.rmtree(base)


def give_to_group(site: SampleSite) -> None:
    """Let all of it be Ada's, and open to the group."""
    for user in (ADA, GRACE):
        home = site.outer.parent / str(user)
        home.mkdir()
        os.chown(home, user, GROUP)
    for place, directories, files in os.walk(site.outer):
        for name in (".", *directories, *files):
            path = Path(place, name)
            os.chown(path, ADA, GROUP, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o060))
    with Path(site.env["GIT_CONFIG_GLOBAL"]).open("a", encoding="utf-8") as config:
        config.write("[safe]\n\tdirectory = *\n")
    for repository in (site.path, site.remote):
        words: list[str | Path] = ["git", "-C", repository, "config", "core.sharedRepository", "group"]
        run(words, cwd=repository, env=site.env, check=0)


@pytest.mark.exhaustive
def test_each_goes_on_where_the_other_stopped_and_prunes_nothing_that_is_in_use(
    templates: Templates, everybodys: Path
) -> None:
    with adas_site(templates, everybodys, group_writable=True) as site:
        # The tests ask as Ada, too: root may have no releaser that she can start.
        site.__dict__["releaser"] = lambda command, *args, check=0, **_: by(ADA, site, command, *args, check=check)
        by(ADA, site, "init")
        site.update_to("alpha", "1.1.0")
        second = site.live_id()
        assert "1.1.0" in by(GRACE, site, "run", "--", "python", "-c", "import alpha; print(alpha.__version__)").stdout
        assert "updated to" in by(GRACE, site, "history").stdout
        by(GRACE, site, "rollback")
        assert states(site)[second] == "rolled-back"
        assert changed_files(site) == {"uv.lock"}
        assert site.remote_head() == site.head()
        site.publish("alpha", "1.2.0")
        assert "problem" not in by(ADA, site, "update").stderr
        assert site.live_version("alpha") == "1.2.0"
        by(GRACE, site, "pin", second)
        by(GRACE, site, "rollback")
        with used_by_grace(site) as used:
            for user, version in ((GRACE, "1.3.0"), (ADA, "1.4.0")):
                site.publish("alpha", version)
                assert "problem" not in by(user, site, "update").stderr
            site.write_dotenv({"RELEASER_KEEP": "0", "RELEASER_KEEP_WITHIN": "0d"})
            by(ADA, site, "prune")
            assert used in states(site)
        by(ADA, site, "prune")
        assert used not in states(site)
        by(ADA, site, "rollback")
        commands = [one["command"] for one in site.json("history")]
        expected = "init update rollback update pin rollback update update prune prune rollback"
        assert " ".join(commands[::-1]) == expected
        assert site.remote_head() == site.head()


@contextlib.contextmanager
def used_by_grace(site: SampleSite) -> Iterator[str]:
    """Let the second user run a program of the live release; its lease is a lock on a file that both can open."""
    words, env = words_of(GRACE, site, "run", "--", "sh", "-c", "echo in; read end"), environment_of(GRACE, site)
    with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "in\n"
        yield site.live_id()
        user.communicate("\n")
