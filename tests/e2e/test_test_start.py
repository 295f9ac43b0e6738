"""The server of a release starts on a private socket before the restart, so that a broken release gets no request."""

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import answers, eventually, silent, states, step, steps, web_site
from tests.e2e.test_restart_effect import take_beta
from tests.support.sites import SampleSite, SiteFactory, variables

# It starts or fails, or answers 500, by what the file beside the site says about the version of alpha.
SERVER = """
import alpha, http.server, json, os, socketserver, sys
place, path = sys.argv[1:]
fate = json.load(open(os.path.join(place, "fates"))).get(alpha.__version__, 200)
with open(os.path.join(place, "started"), "a") as file:
    file.write(f"{alpha.__version__} {os.getpid()} {os.path.dirname(path)}\\n")
if os.fork() == 0:
    import time
    os.setsid()
    time.sleep(600)
if fate == "dies":
    sys.exit("the workers failed to boot")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(fate)
        self.end_headers()
        self.wfile.write(f"{self.headers['Host']} {self.headers['X-Forwarded-Proto']}".encode())
    address_string = lambda self: "socket"
socketserver.UnixStreamServer(path, Handler).serve_forever()
"""
QUICK = {"health_retries": 0, "health_pause": "0s", "health_timeout": "60s"}


def started(site: SampleSite) -> list[list[str]]:
    return [line.split() for line in (site.outer / "started").read_text(encoding="utf-8").splitlines()]


def fate(site: SampleSite, **fates: Any) -> None:
    known = {name.removeprefix("v").replace("_", "."): what for name, what in fates.items()}
    (site.outer / "fates").write_text(json.dumps(known), encoding="utf-8")


def served(make_site: SiteFactory, url: str, **settings: Any) -> SampleSite:
    site = make_site.adopted(prepare=take_beta, dotenv=variables(**QUICK, health_check=url, **settings))
    (site.outer / "server.py").write_text(SERVER, encoding="utf-8")
    fate(site)
    start = [".venv/bin/python", str(site.outer / "server.py"), str(site.outer), "{socket}"]
    with (site.outer / ".env").open("a", encoding="utf-8") as file:
        file.write(f"RELEASER_START_ON_SOCKET='{' '.join(start)}'\n")
    return site


def see_that_nothing_is_left(site: SampleSite) -> None:
    for _, pid, place in started(site):
        assert not Path("/proc", pid).exists()
        assert not Path(place).exists()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        words = Path("/proc", pid, "cmdline")
        assert str(site.outer / "server.py") not in (words.read_text(errors="replace") if words.exists() else "")


def test_a_release_is_tried_on_its_own_socket_before_the_restart(make_site: SiteFactory) -> None:
    with contextlib.ExitStack() as stack:
        web = stack.enter_context(web_site(answers(200)))
        site = served(make_site, web.url)
        site.publish("alpha", "1.1.0")
        report = site.json("update", check=0)
        assert steps(report).index("test start") < steps(report).index("restart")
        assert "answered 200 after " in step(report, "test start")["detail"]
        assert started(site)[-1][0] == "1.1.0"
        see_that_nothing_is_left(site)
        words: list[str | Path] = [site.link / "bin/python", "-c", "print(1, flush=True); input()"]
        old = stack.enter_context(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        stack.callback(old.kill)
        assert old.stdout is not None
        old.stdout.read(1)
        restarted, live = site.restarted_at(), site.live_id()

        fate(site, v1_2_0="dies", v1_3_0=500)
        site.publish("alpha", "1.2.0")
        report = site.json("update", check=6)
        assert report["headline"].startswith("test start failed: ")
        assert "ended before it answered (exit status 1): the workers failed to boot" in report["headline"]
        assert (site.live_id(), site.restarted_at()) == (live, restarted)  # nothing was touched
        assert step(report, "restart again")["status"] == "skipped"
        assert states(site)[report["release"]] == "rolled-back"
        assert [version for version, *_ in started(site)] == ["1.1.0", "1.2.0", "1.1.0"]
        see_that_nothing_is_left(site)
        silent(site.releaser("update"))

        site.publish("alpha", "1.3.0")
        report = site.json("update", check=6)
        assert "answered 500" in report["headline"]
        assert (site.live_id(), site.restarted_at()) == (live, restarted)
        assert {entry["version"] for entry in site.json("status")["on_hold"]} == {"1.2.0", "1.3.0"}

        fate(site, v1_4_0="dies", v1_1_0="dies")  # the setting is to blame
        site.publish("alpha", "1.4.0")
        report = site.json("update", check=6)
        assert step(report, "test start again")["status"] == "warning"
        assert "1.4.0" not in {entry["version"] for entry in site.json("status")["on_hold"]}
        see_that_nothing_is_left(site)


def test_a_kill_during_the_test_start_leaves_no_server_and_the_next_run_goes_on(make_site: SiteFactory) -> None:
    with web_site(answers(200)) as web:
        site = served(make_site, web.url)
        site.publish("alpha", "1.1.0")
        interrupted(site, "update", at=Point(place="releaser.serving.test_start:_ask"))
        restarted = site.restarted_at()
        report = site.json("update")
        assert (site.live_version("alpha"), len(started(site))) == ("1.1.0", 2), report
        assert (site.restarted_at() or 0) > (restarted or 0)
        pids = [pid for _, pid, _ in started(site)]
        eventually(lambda: not any(Path("/proc", pid).exists() for pid in pids), "the end of both servers")


def test_a_rollback_by_hand_does_not_wait_for_it(make_site: SiteFactory) -> None:
    with web_site(answers(200)) as web:
        site = served(make_site, web.url)
        live = site.live_id()
        site.publish("alpha", "1.1.0")
        site.json("update", check=0)
        fate(site, v1_0_0="dies", v1_1_0="dies")
        before = started(site)
        report = site.json("rollback", check=0)
        assert (site.live_id(), started(site)) == (live, before), report
