"""A service that cannot be restarted in place: what `stop` and `start` do, what their failure means, and kills."""

import contextlib
import errno
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from releaser.core.change import Change
from releaser.errors import ActivationError
from releaser.pipelines.due import Timing, update_when_due
from releaser.pipelines.session import Request
from releaser.pipelines.update import update_site
from releaser.releases.journal import Journal
from releaser.site.run_lock import LOCK
from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import body, silent, step, steps
from tests.support.sites import SampleSite, SiteFactory

# `stop` and `start` note that they ran, and fail on demand; a daemon runs on the version of alpha that `start` finds.
CONTROL = """\
import os, pathlib, signal, subprocess, sys
place, what = pathlib.Path(__file__).parent, sys.argv[1]
with (place / "calls").open("a") as file:
    print(what, file=file)
if (place / f"fails-{what}").exists():
    sys.exit(f"{what} has its reasons")
pid, version = place / "pid", place / "version"
if what == "start" and not pid.exists():
    version.write_bytes(subprocess.check_output(["python", "-c", "import alpha; print(alpha.__version__)"]))
    quiet = subprocess.DEVNULL
    pid.write_text(str(subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=quiet, stderr=quiet).pid))
elif what == "stop" and pid.exists():
    os.kill(int(pid.read_text()), signal.SIGKILL)
    pid.unlink()
    version.unlink()
"""


class Service:
    """A site that is a daemon of its own, which cannot be restarted in place."""

    def __init__(self, make_site: SiteFactory, place: Path) -> None:
        self.place = place
        (place / "control.py").write_text(CONTROL, encoding="utf-8")
        command = [sys.executable, str(place / "control.py")]
        settings = {f"RELEASER_{what.upper()}": shlex.join([*command, what]) for what in ("stop", "start")}
        health = {"RELEASER_HEALTH_CHECK": f"grep -v 1.5.0 {place}/version", "RELEASER_HEALTH_RETRIES": "1"}
        self.site: SampleSite = make_site.adopted(dotenv={**settings, **health})
        self.site.releaser("run", "--", *command, "start", check=0)
        self.calls()

    @property
    def pid(self) -> int:
        return int((self.place / "pid").read_text(encoding="utf-8"))

    def answer(self) -> str:
        """Return on which version of alpha the daemon runs; empty if it does not."""
        file = self.place / "version"
        return file.read_text(encoding="utf-8").strip() if file.exists() else ""

    @contextlib.contextmanager
    def failing(self, what: str) -> Iterator[None]:
        (self.place / f"fails-{what}").touch()
        yield
        (self.place / f"fails-{what}").unlink()

    def calls(self) -> list[str]:
        """Return which of the commands have run since this was asked last."""
        file = self.place / "calls"
        found = file.read_text(encoding="utf-8").split() if file.exists() else []
        file.unlink(missing_ok=True)
        return found


@pytest.fixture
def service(make_site: SiteFactory, tmp_path: Path) -> Iterator[Service]:
    made = Service(make_site, tmp_path)
    yield made
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(made.pid, signal.SIGKILL)


@pytest.mark.story
def test_the_flip_lies_between_and_the_outage_is_measured_and_told(service: Service) -> None:
    site, first = service.site, service.pid
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    found = steps(report)
    assert found.index("stop") + 1 == found.index("flip") < found.index("restart")
    assert service.calls() == ["stop", "start"]
    assert (service.answer(), service.pid != first) == ("1.1.0", True)
    took = sum(step(report, name)["seconds"] for name in ("stop", "restart"))
    assert took <= report["outage_seconds"] <= report["seconds"]
    assert "it was stopped for" in step(report, "restart")["detail"]
    assert "The service was stopped for" in body(site)
    assert site.json("history")[0]["outage_seconds"] == report["outage_seconds"]
    assert not any(os.readlink(one).endswith(LOCK) for one in Path(f"/proc/{service.pid}/fd").iterdir())
    silent(site.releaser("update"))  # it does not hold the lock
    assert service.calls() == []
    finished = site.releaser("rollback", check=0)
    assert "The service was stopped for" in finished.stderr + finished.stdout
    assert (service.calls(), service.answer()) == (["stop", "start"], "1.0.0")


def test_nothing_goes_live_if_the_service_cannot_be_stopped(service: Service) -> None:
    site, before = service.site, service.site.snapshot()
    site.publish("alpha", "1.1.0")
    with service.failing("stop"):
        report = site.json("update", check=3)
        assert "stop has its reasons" in report["headline"]
        assert (service.calls(), service.answer()) == (["stop", "start"], "1.0.0")
        assert (report["live_changed"], site.snapshot()) == (False, before)
    site.releaser("update", check=0)
    assert service.answer() == "1.1.0"
    with service.failing("stop"):
        report = site.json("rollback", check=7)  # which somebody needs in an emergency
        assert any("stop has its reasons" in one for one in report["problems"])
    assert site.live_version("alpha") == "1.0.0"


def test_a_disk_that_turns_read_only_leaves_it_running(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    take_back = Change._roll_back_for

    def broken(change: Change, failure: ActivationError) -> ActivationError:
        for place, name in ((Journal, "write_on_full_disk"), (Change, "_restore_link")):
            monkeypatch.setattr(place, name, full)
        return take_back(change, failure)

    service.site.publish("alpha", "1.5.0")
    monkeypatch.setattr(Change, "_roll_back_for", broken)
    request = Request(path=service.site.path, environ=service.site.environment(), command="update")
    report = update_when_due(request, Timing(), partial(update_site, force=False, follow=False))
    assert "the rollback is incomplete" in report.headline
    assert service.calls() == ["stop", "start"]


def test_a_release_on_which_it_is_not_well_is_taken_back(service: Service) -> None:
    site = service.site
    site.publish("alpha", "1.5.0")
    report = site.json("update", check=6)
    assert (service.calls(), service.answer()) == (["stop", "start", "stop", "start"], "1.0.0")
    asked = step(report, "health check")["seconds"]  # it ran then
    assert 0 < report["outage_seconds"] < report["seconds"] - asked
    site.publish("alpha", "1.6.0")
    with service.failing("start"):
        report = site.json("update", check=6)
        assert "start has its reasons" in report["headline"]
        assert service.calls() == ["stop", "start", "stop", "start"]
        (stopped,) = (one for one in report["problems"] if "restart on the previous release failed" in one)
        assert "the service is stopped" in stopped
        assert "Start it yourself" in stopped
        assert any("the service is stopped since" in one for one in site.json("status")["problems"])
        assert site.live_version("alpha") == "1.0.0"
    site.releaser("update")  # which starts it first of all
    assert (service.calls(), service.answer()) == (["stop", "start"], "1.0.0")


def test_the_next_run_starts_what_a_killed_one_has_stopped(service: Service) -> None:
    """Behind the flip, too: tests/kit/test_actions.py."""
    site, stopped = service.site, Point(place="releaser.actions.restart:run_hook")
    site.publish("alpha", "1.1.0")
    interrupted(site, "update", at=stopped, by="SIGTERM")  # which starts it itself
    assert (service.calls(), service.answer()) == (["stop", "start"], "1.0.0")
    assert interrupted(site, "update", at=stopped).returncode == -signal.SIGKILL
    assert any("the service is stopped since" in one for one in site.json("status")["problems"])
    report = site.json("init")  # changes nothing by itself
    assert service.calls()[-1] == "start"
    assert service.answer() == "1.0.0" == site.live_version("alpha")
    assert report["outage_seconds"] > 0
    assert site.json("init")["outage_seconds"] is None
    assert service.calls() == []


def test_settings_that_come_with_code_find_it_running(service: Service) -> None:
    """The code that goes live has no `stop` any more, and later gets it again."""
    site = service.site
    lines = (site.outer / ".env").read_text(encoding="utf-8").splitlines()
    moved = {one for one in lines if one.startswith(("RELEASER_STOP=", "RELEASER_START="))}
    (site.outer / ".env").write_text("\n".join(one for one in lines if one not in moved), encoding="utf-8")
    settings = (one.removeprefix("RELEASER_").partition("=") for one in moved)
    table = "".join(f'{name.lower()} = "{value[1:-1]}"\n' for name, _, value in settings)
    plain = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    both, added = ["stop", "start"], f"{plain}\n[tool.releaser]\n{table}"
    for text, calls in ((added, both), (plain, both), (f"{plain}# news\n", [])):
        site.push_from_elsewhere({"pyproject.toml": text})
        site.releaser("update", check=0)
        assert (service.calls(), service.answer()) == (calls, "1.0.0")
