"""What the other tests stand on, tested with real uv and real git."""

import contextlib
import os
import smtplib
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import guards
from tests.support.commands import clean_environment, run
from tests.support.guards import forbid, require
from tests.support.serving import hang, http_server
from tests.support.sites import Breakage, SampleSite, SiteFactory

pytestmark = pytest.mark.spawns


def test_a_site_passes_its_tests_until_a_broken_version_breaks_the_one_that_it_names(
    make_site: SiteFactory,
) -> None:
    site = make_site(venv=True)
    assert site.python("import sys; print(sys.base_prefix)") == sys.base_prefix
    assert site.live_version("alpha") == "1.0.0"
    assert site.live_version("localtools") == "1.0.0"
    site.uv("lock", "--check")
    assert site.git("rev-parse", "--abbrev-ref", "HEAD@{upstream}") == "origin/main"
    assert site.head() == site.remote_head()
    assert _manage(site, "test")
    assert site.git("status", "--porcelain") == ""
    breakages: tuple[Breakage, ...] = ("test", "check", "collectstatic", "import")
    for minor, breakage in enumerate(breakages):
        site.publish("alpha", f"2.{minor}.0", broken=breakage)
        site.uv("sync", "--quiet", "--upgrade", "--group", "local")
        works = [_manage(site, command) for command in ("test", "check", "collectstatic")]
        assert works == [breakage not in (command, "import") for command in ("test", "check", "collectstatic")]


def test_snapshots_tell_of_every_file_but_byte_code(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    before = site.snapshot()
    assert _manage(site, "test", "--noinput")
    assert site.snapshot() == before
    (noted,) = site.manage_runs("test")
    assert (noted.argv, noted.versions["alpha"], Path(noted.prefix)) == (("test", "--noinput"), "1.0.0", site.link)
    for path in ("pyproject.toml", "new.txt", "config/tmp/restart.txt", "static_out/x", ".venv/x"):
        before = site.snapshot()
        site.edit(path, "changed")
        assert site.snapshot() != before, path


def test_snapshots_tell_of_a_commit_and_of_another_link(make_site: SiteFactory) -> None:
    site = make_site()
    site.link.symlink_to("nowhere")
    before = site.snapshot()
    assert before["(link)"] == "-> nowhere"
    site.link.unlink()
    assert site.snapshot()["(link)"] == "absent"
    site.link.symlink_to("nowhere")
    assert site.snapshot() == before
    site.git("commit", "--quiet", "--allow-empty", "--message", "Nothing")
    assert {name for name, value in site.snapshot().items() if before[name] != value} == {"(commit)"}


def test_nothing_of_the_developers_environment_leaks_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEASER_KEEP", "7")
    monkeypatch.setenv("AUTO_UPDTR__UV_PATH", "/nowhere")
    monkeypatch.setenv("UV_INDEX_URL", "https://example.org")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COVERAGE_PROCESS_START", "setup.cfg")
    env = clean_environment(tmp_path / "home", tmp_path / "cache")
    assert env.keys().isdisjoint({"RELEASER_KEEP", "AUTO_UPDTR__UV_PATH", "UV_INDEX_URL", "NO_COLOR"})
    assert env["COVERAGE_PROCESS_START"] == "setup.cfg"


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    script = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    with pytest.raises(pytest.fail.Exception, match="still running after"):
        run([sys.executable, "-c", script], cwd=tmp_path, env={"PATH": os.defpath}, timeout=0.5)


def test_require_skips_except_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    require(True, "never said")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no loopback"):
        require(False, "no loopback")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no loopback"):
        require(False, "no loopback")


def test_unit_tests_can_neither_start_programs_nor_mail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forbid(monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="mark it `spawns`"):
        subprocess.run(["true"], check=False)
    with pytest.raises(pytest.fail.Exception, match="mark it `spawns`"):
        smtplib.SMTP_SSL("localhost")


def _manage(site: SampleSite, *args: str) -> bool:
    """Run manage.py in the site's environment; tell whether that went well."""
    return run([site.link / "bin" / "python", "manage.py", *args], cwd=site.path, env=site.env).returncode == 0


def test_no_connection_outlives_its_server() -> None:
    """Descriptors of one test would close while another one counts its own."""
    before, asked = set(os.listdir("/proc/self/fd")), threading.Event()

    def deal(request: BaseHTTPRequestHandler) -> None:
        asked.set()
        hang(request)

    with contextlib.ExitStack() as clients:
        with http_server(deal) as url:
            client = clients.enter_context(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))))
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert asked.wait(20)
        assert len({*os.listdir("/proc/self/fd")} - before) <= 1  # that of the client


def test_the_mutations_of_the_faults_can_be_made_those_outside_of_a_spread_as_well() -> None:
    """A function that takes other arguments by now is named at once."""
    script = "from tests.faults.mutations import MUTATIONS\nfor one in MUTATIONS:\n    one.patch()\n"
    run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], env=os.environ, check=0)


def test_a_row_without_a_name_is_refused() -> None:
    rows: Any = [SimpleNamespace(nodeid="test_x[a]"), SimpleNamespace(nodeid=f"test_x[{forbid}]")]
    guards.pytest_collection_modifyitems(rows[:1])
    with pytest.raises(pytest.UsageError, match="give these rows a name"):
        guards.pytest_collection_modifyitems(rows)
