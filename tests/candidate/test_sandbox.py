"""What is in the sandbox starts its programs, and people hear where no sandbox works."""

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from releaser.candidate import sandbox
from releaser.candidate.sandbox import programs_of, report_missing_sandbox, runs_without_sandbox
from releaser.errors import ToolError
from releaser.sandbox.bubblewrap import Bounds, Bubblewrap, find_bubblewrap
from releaser.sandbox.settings import SandboxSettings
from releaser.site.site import Site
from releaser.system.process import Runner
from releaser.tools.uv import find_uv
from tests.e2e.refusals import script
from tests.support.guards import require
from tests.support.logs import a_log


def test_that_no_sandbox_works_is_logged_each_time_told_once_and_known_until_something_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    site: Any = SimpleNamespace(settings=SandboxSettings(sandbox="auto"), state_dir=tmp_path, runner=None)
    found: object = "there is no bubblewrap"
    monkeypatch.setattr(sandbox, "find_sandbox", lambda *_: found)
    told = []
    for _ in range(2):
        log = a_log()
        report_missing_sandbox(site, log)
        told.append([one.message for one in log.findings])
    assert told == [["tests and builds run without a sandbox: there is no bubblewrap"], []]
    assert len(caplog.records) == 2
    assert runs_without_sandbox(site)
    site.settings = SandboxSettings(sandbox="off")  # which somebody has asked for
    report_missing_sandbox(site, log := a_log())
    assert not log.findings
    assert not runs_without_sandbox(site)
    site.settings, found = SandboxSettings(sandbox="auto"), object()
    report_missing_sandbox(site, a_log())
    assert not runs_without_sandbox(site)


def working_bubblewrap() -> tuple[Runner, Bubblewrap]:
    runner = Runner(environ=os.environ)
    found = find_bubblewrap(runner)
    require(isinstance(found, Bubblewrap), str(found))
    return runner, cast("Bubblewrap", found)


def test_programs_below_tmp_are_started_by_the_symlinks_that_lead_to_them() -> None:
    """As uv is in a venv of symlinks, and as uv names the directories of its interpreters."""
    runner, bubblewrap = working_bubblewrap()
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        place = Path(base)
        for name in ("cache", "bin", "python-3.11.7/bin", "venv/bin"):
            (place / name).mkdir(parents=True)
        shutil.copy(str(find_uv(None, environ=os.environ, project=place)), place / "cache" / "uv")
        (place / "bin" / "uv").symlink_to("../cache/uv")
        (place / "python-3.11").symlink_to("python-3.11.7")
        (place / "python-3.11" / "said").write_text("its library")
        python = script(place / "python-3.11" / "bin" / "python", f"cat {place}/python-3.11/said")
        (link := place / "venv" / "bin" / "python").symlink_to(python)
        site = cast("Site", SimpleNamespace(uv=SimpleNamespace(executable=place / "bin" / "uv")))
        said = []
        for words in ([str(site.uv.executable), "--version"], [str(python)], [str(link)]):
            bounds = Bounds(writable=(place / "venv",), needed=programs_of(site, link))
            with bubblewrap.sandbox(bounds) as sandbox:
                said.append(runner.run(words, cwd=Path("/"), timeout=60, sandbox=sandbox).stdout)
    assert said[0].startswith("uv ")
    assert said[1:] == ["its library"] * 2


def test_a_program_that_the_sandbox_does_not_start_is_started_once_more(tmp_path: Path) -> None:
    """A socket that is covered may go between the look at those that listen and the start of bubblewrap."""
    runner, bubblewrap = working_bubblewrap()
    bad, views = ["--ro-bind", "/dev/null", "/proc/nothing/socket"], list[list[str]]()

    def start(*more: list[str]) -> str:
        views[:] = more
        with bubblewrap.sandbox(Bounds(writable=(tmp_path,))) as made:
            tried = replace(made, view=lambda: [*made.view(), *(views.pop(0) if views else ())])
            words = ["sh", "-c", "echo started >> log; exit 7"]
            with pytest.raises(ToolError) as error:
                runner.run(words, cwd=tmp_path, timeout=60, sandbox=tried)
        return f"{type(error.value).__name__} {error.value.returncode}"

    assert start(bad) == "ToolError 7"
    assert start(bad, bad) == "SandboxError 1"
    assert (tmp_path / "log").read_text(encoding="utf-8") == "started\n"


def test_a_program_cannot_hide_that_it_was_started(tmp_path: Path) -> None:
    """Otherwise it would run twice, and its failure would count as one of the sandbox."""
    runner, bubblewrap = working_bubblewrap()
    for end, code in (("exit 7", 7), ("kill -9 $$", 137)):
        empty = "rm -f /tmp/.[a-z]*"  # the private directory of the sandbox
        words = ["sh", "-c", f"readlink /proc/$$/fd/* >> log; {empty} >/dev/null; {end}"]
        with bubblewrap.sandbox(Bounds(writable=(tmp_path,))) as sandbox, pytest.raises(ToolError) as error:
            runner.run(words, cwd=tmp_path, timeout=60, sandbox=sandbox)
        assert (type(error.value), error.value.returncode) == (ToolError, code)
    said = (tmp_path / "log").read_text(encoding="utf-8").split()
    assert said.count("/dev/null") == 2, "one start each"
    assert sum(one.startswith("pipe:") for one in said) == 2, "its errors, and no other descriptor"
