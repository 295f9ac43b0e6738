"""A process that a crew forks is like one that was started: its words, variables, descriptors, session and status."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import ToolError
from releaser.fleet import crew
from releaser.fleet.crew import CrewGoneError, Crews, owner_of
from releaser.fleet.many_sites import ManySites
from releaser.fleet.sites_file import ListedSite
from releaser.system.process import Finished, Runner

pytestmark = pytest.mark.spawns

# Begins as a crew does, and then does what its words say.
_CODE = """\
import json, os, signal, sys
from releaser.fleet.crew import become_run, end_quickly
become_run()
def main():
    act, *words = sys.argv[1:]
    before = {*sys.modules}
    if act == "show":
        print(json.dumps({
            "words": words, "cwd": os.getcwd(), "leads": os.getsid(0) == os.getpgid(0) == os.getpid(),
            "variables": {name: value for name, value in os.environ.items() if name.startswith("RELEASER_")},
            "descriptors": [
                os.readlink(f"/proc/self/fd/{one}").partition(":")[0]
                for one in sorted(os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{one}")
            ],
            "handlers": [str(signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
        }))
        print("a note", file=sys.stderr)
    elif act == "use":
        from releaser.answers import Status
        from releaser.fleet.learned import Learned
        from releaser.system.expression import expression
        from releaser.capabilities import GATHERED, gather
        from releaser.locks import lock
        from releaser.releases.release import manifest_type
        import msgspec, re
        known = Learned.here()
        print(json.dumps([
            "releaser.answers" in before, *(("releaser.answers", "Status") in part for part in known[2:4]),
            ("only here", 0) in {(text, flags) for _, text, flags in re._cache}, "described" in GATHERED,
            *("__msgspec_cache__" in vars(kind) for kind in (manifest_type(), lock.Package)),
        ]))
        expression("only here").search("")
        gather("described")
        for kind in (Status, manifest_type(), lock.Package):
            msgspec.json.Decoder(kind)
    elif act == "exit":
        sys.exit(int(words[0]))
    elif act == "signal":
        os.kill(os.getpid(), int(words[0]))
    elif act == "raise":
        raise ValueError("wrong")
    elif act == "end-crew":
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    elif act == "end-both":
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "read":
        os.mkfifo(words[0])
        open(words[0]).read()
    elif act == "wait":
        print("began", flush=True)
        signal.pause()
    sys.exit()
end_quickly(main)
"""
VARIABLES = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "RELEASER_KEEP": "3"}


def make_sites(base: Path, count: int) -> list[ListedSite]:
    for number in range(count):
        place = base / f"site{number}"
        place.mkdir()
        (place / "pyproject.toml").touch()
    return [ListedSite(path=base / f"site{number}") for number in range(count)]


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Runner, Crews, Path]]:
    monkeypatch.setattr(crew, "_CODE", _CODE)
    sites, runner = make_sites(tmp_path, 2), Runner(environ=VARIABLES)
    with Crews.of(sites, runner, lambda _: VARIABLES) as crews:
        yield runner, crews, sites[0].path


def run(running: tuple[Runner, Crews, Path], *words: str, timeout: float = 60, **variables: str) -> Finished:
    runner, crews, site = running
    found = crews.find(site)
    assert found is not None
    start = found.starter(words, variables)
    return runner.run(
        ["releaser"],
        cwd=Path("/"),
        timeout=timeout,
        check=False,
        daemons=True,
        start=start,
        death_signal=signal.SIGTERM,
    )


def test_it_has_its_words_and_variables_and_nothing_of_others(running: tuple[Runner, Crews, Path]) -> None:
    first: dict[str, Any] = json.loads(
        run(running, "show", "--json", "é\n", RELEASER_KEEP="9", RELEASER_PYTHON="x").stdout
    )
    assert first["words"] == ["--json", "é\n"]
    assert first["variables"] == {"RELEASER_KEEP": "9", "RELEASER_PYTHON": "x"}
    assert first["cwd"] == str(Path.cwd()) or first["cwd"] == "/"
    assert first["leads"]
    assert first["descriptors"][:3] == ["/dev/null", "pipe", "pipe"]
    assert not [one for one in first["descriptors"][3:] if one in ("socket", "pipe", "anon_inode")]
    assert "default_int_handler" in first["handlers"][0]
    assert "SIG_DFL" in first["handlers"][1] or "0" in first["handlers"][1]
    second = run(running, "show")
    assert json.loads(second.stdout)["variables"] == {"RELEASER_KEEP": "3"}
    assert second.stderr == "a note\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [(("exit", "0"), 0), (("exit", "9"), 9), (("signal", "11"), -11), (("signal", "9"), -9), (("raise",), 1)],
)
def test_a_status_is_its_own_and_the_next_one_runs(
    running: tuple[Runner, Crews, Path], words: tuple[str, ...], status: int
) -> None:
    done = run(running, *words)
    assert done.returncode == status
    assert ("ValueError: wrong" in done.stderr) is (words == ("raise",))
    assert run(running, "exit", "3").returncode == 3


def test_after_the_end_of_the_crew_nothing_starts_by_it(running: tuple[Runner, Crews, Path]) -> None:
    assert run(running, "end-crew").returncode == -signal.SIGTERM  # what each process of a crew that ends gets
    with pytest.raises(CrewGoneError):
        run(running, "exit", "0")


@pytest.mark.parametrize(
    ("named", "by"),
    [("os.fork", "raise BlockingIOError"), ("releaser.fleet.crew.is_replaced", "return True")],
    ids=["without processes left", "after an upgrade"],
)
def test_where_it_cannot_fork_the_sites_that_run_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, by: str
) -> None:
    flag, module = tmp_path / "flag", named.rpartition(".")[0]
    code = f"""\
import {module}, os
before = {named}
def instead():
    if os.path.exists({str(flag)!r}):
        {by}
    return before()
{named} = instead
"""
    monkeypatch.setattr(crew, "_CODE", code + _CODE)
    runner, listed = Runner(environ=VARIABLES), make_sites(tmp_path, 2)
    with Crews.of(listed, runner, lambda _: VARIABLES) as crews, ThreadPoolExecutor() as pool:
        running = runner, crews, listed[0].path
        first = pool.submit(run, running, "read", str(tmp_path / "pipe"))
        while not (tmp_path / "pipe").exists():
            assert not first.done()
            time.sleep(0.01)
        flag.touch()
        with pytest.raises(CrewGoneError):
            run(running, "exit", "0")
        flag.unlink()
        assert run(running, "exit", "3").returncode == 3
        assert not first.done()
        (tmp_path / "pipe").write_text("")
        assert first.result().returncode == 0


def test_one_that_takes_too_long_is_ended_and_the_next_one_runs(running: tuple[Runner, Crews, Path]) -> None:
    with pytest.raises(ToolError, match=r"was still running after 0\.5 s and was ended"):
        run(running, "wait", timeout=0.5)
    assert run(running, "exit", "0").returncode == 0


def test_only_owners_of_several_sites_have_a_crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_CODE", _CODE)
    sites, runner = make_sites(tmp_path, 1), Runner(environ=VARIABLES)
    assert owner_of(sites[0].path) == os.geteuid()
    assert owner_of(tmp_path / "none") is None
    with Crews.of(sites, runner, lambda _: VARIABLES) as crews:
        assert crews.find(sites[0].path) is None
    if not os.geteuid():  # the group of each site counts then
        os.chown(sites[0].path, 54321, 54321)
        assert owner_of(sites[0].path) is None


def test_without_its_crew_a_site_gets_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as where the crew cannot start, or was killed."""
    monkeypatch.setattr(crew, "_CODE", "raise SystemExit(3)")
    monkeypatch.setattr("releaser.fleet.many_sites._AGAIN", 'print("[1]")')
    sites = make_sites(tmp_path, 2)
    found = ManySites(sites, jobs=1, environ=VARIABLES).ask(["status"], as_json=True)
    assert [(one.answer, one.exit_code) for one in found] == [([1], 0)] * 2


def test_no_signal_is_named_for_a_run_that_ended_with_its_crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_CODE", _CODE)
    monkeypatch.setattr("releaser.fleet.many_sites._AGAIN", 'print("[1]")')
    found = ManySites(make_sites(tmp_path, 2), jobs=1, environ=VARIABLES).ask(["end-both"], as_json=True)
    ended = "the run was ended with the process that had started it"
    assert sorted((one.errors, one.exit_code) for one in found) == [((), 0), ((ended,), 143)]


def test_next_run_has_ready_what_this_one_used(running: tuple[Runner, Crews, Path]) -> None:
    assert [json.loads(run(running, "use").stdout) for _ in range(2)] == [[False] * 7, [True] * 7]
