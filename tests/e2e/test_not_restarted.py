"""`restart = "auto"` with nothing to touch: every command says that the site goes on with the old release."""

import contextlib
import importlib.metadata
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from releaser.errors import ExitCode
from tests.e2e.scenes import body, eventually
from tests.support.sites import SampleSite, SiteFactory

SAYS = "updates do not restart the site: `restart` is auto, but"
APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"tea"]
"""


def _make_site(make_site: SiteFactory) -> SampleSite:
    site = make_site(venv=True, files={"app.py": APPLICATION})
    site.git("rm", "-r", "--quiet", "config/tmp")
    site.commit("Restart by something else")
    site.push()
    return site


@contextlib.contextmanager
def _gunicorn(site: SampleSite) -> Iterator[int]:
    """Serve the site by the gunicorn that development has, on the live release; gives its process id."""
    modules = site.outer / "modules"
    modules.mkdir()
    for name in ("gunicorn", "packaging"):
        (modules / name).symlink_to(Path(str(importlib.metadata.distribution(name).locate_file(name))))
    words = [".venv/bin/python", "-m", "gunicorn", "--bind", "unix:../socket", "--pid", "../gunicorn.pid", "app"]
    env = {**site.env, "PYTHONPATH": str(modules)}
    with (site.outer / "gunicorn.log").open("w") as log:
        process = subprocess.Popen(words, cwd=site.path, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        eventually(lambda: _answers(site.outer / "socket"), "an answer")
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)
        print((site.outer / "gunicorn.log").read_text(encoding="utf-8")[-3000:])  # noqa: T201 - shown if it fails


def _answers(place: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"tea" in client.makefile("rb").read()
    return False


def test_it_is_told_until_restart_is_set_and_no_mail_comes_for_a_quiet_night(make_site: SiteFactory) -> None:
    site = _make_site(make_site)
    with _gunicorn(site) as pid:
        checked = site.json("check")
        assert checked["fit"]
        (warning,) = [one for one in checked["warnings"] if SAYS in one]
        server = f"For gunicorn (process {pid}"
        for words in (server, 'restart = "gunicorn"', 'restart = "none"'):
            assert words in warning
        assert any(SAYS in one for one in site.json("init")["problems"])
        site.publish("alpha", "1.1.0")
        updated = site.json("update", check=ExitCode.FOLLOW_UP)
        assert (updated["result"], updated["live_changed"]) == ("updated-not-restarted", True)
        assert server in " ".join(updated["problems"])
        (mail,) = site.outbox_mails()
        assert mail["Subject"].startswith("!")
        assert "not restarted" in mail["Subject"]
        assert "Warning: The site was not restarted. Restart it now. Updates do not" in " ".join(body(site).split())
        for _ in range(2):
            site.releaser("update", check=0)
        assert len(site.outbox_mails()) == 1
        assert SAYS in site.json("status")["not_restarted"]
        assert "updates restart nothing" in site.releaser("status --nagios", check=1).stdout
        back = site.releaser("rollback", check=ExitCode.FOLLOW_UP)  # without a terminal
        assert "but the site was not restarted" in back.stderr
        assert server in back.stderr
    (site.path / "tmp").mkdir()
    (site.path / ".git" / "info" / "exclude").write_text("/tmp\n/.venv\n", encoding="utf-8")
    assert site.json("status")["not_restarted"] == ""
    site.publish("alpha", "1.2.0")
    assert site.json("update")["solved"] == ["restart"]
    assert (site.path / "tmp" / "restart.txt").exists()


def test_nothing_is_said_where_nothing_is_to_be_restarted(make_site: SiteFactory) -> None:
    site = _make_site(make_site)
    assert not any(SAYS in one for one in site.json("check", env={"RELEASER_RESTART": "none"})["warnings"])
    site.git("mv", "manage.py", "run_site_tests.py")
    site.commit("Be a script")
    site.push()
    site.write_dotenv({"RELEASER_TEST_COMMAND": "python run_site_tests.py test"})
    site.publish("alpha", "1.1.0")
    assert not any(SAYS in one for one in site.json("check")["warnings"])
    site.releaser("init", check=0)
    updated = site.json("update")
    assert (updated["result"], updated["problems"]) == ("updated", [])
    assert site.json("status")["not_restarted"] == ""
