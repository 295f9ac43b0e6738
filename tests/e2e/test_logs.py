"""`releaser logs`: the log of which run, and a run that is followed until it ends."""

import contextlib
import signal
import subprocess
import threading
from pathlib import Path
from typing import cast

import pytest

from releaser.pipelines import logs
from releaser.pipelines.logs import RunLogFile
from releaser.site.site import Site
from tests.attacks.test_terminal import ELSEWHERE, EVIL, ON_A_TERMINAL
from tests.e2e.scenes import MEETING_TESTS, SECONDS, in_background, meeting, on_terminal
from tests.support.sites import SampleSite, SiteFactory, variables

SECRET = "s3cret-of-the-database"
TESTS = f"import sys\nprint({EVIL!r} + 'of the tests: {SECRET}')\n"
News = tuple[SampleSite, list[str]]


@pytest.fixture(scope="module")
def news(make_scene: SiteFactory) -> News:
    """A site whose live release is of the last run but two, and the ids of its runs, oldest first."""
    site = make_scene.adopted("1.1.0", dotenv=variables() | {"DB_PASSWORD": SECRET})
    site.push_commit("Say much", {"run_tests.py": TESTS})
    site.update_to("alpha", "1.2.0")
    site.releaser("update", check=0)
    site.publish("alpha", "1.3.0", broken="import")
    site.edit("pyproject.toml", "[project]\n")
    site.releaser("update", check=3)
    site.git("checkout", "--quiet", "pyproject.toml")
    return site, [run["run_id"] for run in site.json("history")][::-1]


@pytest.mark.story
def test_the_log_of_the_last_run_of_any_run_and_of_the_live_release(news: News) -> None:
    site, runs = news
    assert len(runs) == 5
    table = site.releaser("history", check=0).stdout
    assert [line.split()[0] for line in table.splitlines()[1:]] == runs[::-1]
    made = runs[2]
    for words, run in (([], runs[-1]), (["live"], made), ([runs[0]], runs[0]), ([made[:-1]], made)):
        found = site.json("logs", *words)
        path = site.state_dir / "logs" / f"{run}.log"
        assert found == {"run": run, "path": str(path), "running": False, "text": path.read_text(encoding="utf-8")}
        for more in ([], ["--follow"]):
            shown = site.releaser("logs", *words, *more, check=0)
            assert (shown.stdout, shown.stderr) == (found["text"], "")
    assert "of the tests: ***" in site.releaser("logs", made, check=0).stdout
    assert "2 problems found" in site.releaser("logs", check=0).stdout


@pytest.mark.slow
def test_nothing_harmful_reaches_a_terminal_even_from_a_log_of_another_program(news: News) -> None:
    site, runs = news
    path = site.state_dir / "logs" / f"{runs[0]}.log"
    path.write_text(f"{EVIL}{SECRET}\n\udcff".encode(errors="surrogateescape").decode("utf-8", "replace"), "utf-8")
    status, shown = on_terminal(site, "logs", runs[0])
    said = site.releaser("logs", runs[0], check=0).stdout
    assert (status, ON_A_TERMINAL.findall(shown), ELSEWHERE.findall(said)) == (0, [], [])
    assert "***" in shown
    assert SECRET not in shown + said + str(site.json("logs", runs[0]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("2", "matches several runs: "),
        ("20200101T000000Z-1", "there is no run '20200101T000000Z-1'"),
        ("liv", "Did you mean `live`?"),
        ("../history", "there is no run"),
        ("", "there is no run ''"),
        ("GONE", "the log of the run GONE was deleted"),
    ],
)
def test_a_run_that_cannot_be_shown(make_site: SiteFactory, run: str, said: str) -> None:
    site = make_site.adopted("1.1.0")
    first = site.json("history")[-1]["run_id"]
    (site.state_dir / "logs" / f"{first}.log").unlink()
    assert said.replace("GONE", first) in site.releaser("logs", run.replace("GONE", first), check=9).stderr
    assert first not in site.releaser("logs", check=0).stdout.partition("\n")[0]
    refused = site.releaser("logs", "--follow", "--json", check=2).stderr
    assert "--follow cannot be combined with --json" in refused


@pytest.mark.slow
def test_before_the_first_run(make_site: SiteFactory) -> None:
    site = make_site()
    assert "there have been no runs yet" in site.releaser("logs", check=9).stderr
    assert "no release is live" in site.releaser("logs", "live", check=9).stderr


@pytest.mark.slow
def test_a_run_is_followed_until_it_ends_whatever_becomes_of_its_file(make_site: SiteFactory) -> None:
    site = make_site.adopted(files={"run_tests.py": MEETING_TESTS}, due="1.1.0")
    with meeting() as met, in_background(site, "update", env=met.env) as update, contextlib.ExitStack() as stack:
        with met.kept_waiting():
            (path,) = (site.state_dir / "logs").glob(f"*-{update.pid}.log")
            assert site.json("logs")["running"] is True
            follows, stopped = (stack.enter_context(in_background(site, "logs", word)) for word in ("-f", "--follow"))
            first = [*map(lines_to_test, (follows, stopped))]
            assert first[0] == first[1]
            stopped.send_signal(signal.SIGINT)
            assert stopped.wait(SECONDS) == 128 + signal.SIGINT
            assert follows.poll() is None
            path = path.rename(path.with_name("moved"))
        assert update.wait(SECONDS) == 0
        assert follows.stdout
        rest = follows.stdout.read()  # `communicate` would leave out what is in its buffer
        assert follows.wait(SECONDS) == 0
        assert first[0] + rest == path.read_text(encoding="utf-8")
        assert "step flip" in rest


def lines_to_test(process: subprocess.Popen[str]) -> str:
    """Return the lines that say that the tests have begun, and those before; end the process if none comes."""
    ending = threading.Timer(SECONDS, process.kill)
    ending.start()
    found = ""
    assert process.stdout
    while not found.endswith("step test\n") and (line := process.stdout.readline()):
        found += line
    ending.cancel()
    return found


def test_between_two_looks_at_a_run_it_sleeps_and_a_line_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, written, done = tmp_path / "run.log", iter(["a\nb", "c\n", "\xe4\nd"]), list[str]()

    def find_running(_: Site) -> str:
        done.append("look")
        return "run" if done.count("look") < 4 else ""

    def sleep(_: float) -> None:
        done.append("sleep")
        with path.open("a", encoding="latin-1") as file:
            file.write(next(written))

    monkeypatch.setattr(logs, "_find_running", find_running)
    monkeypatch.setattr("time.sleep", sleep)
    log = RunLogFile(run="run", path=str(path), running=True)
    parts = logs.lines_of(cast("Site", None), log, is_followed=True)
    assert [*parts] == [[], ["a"], ["bc"], ["\ufffd", "d"]]
    assert done == ["look", *["sleep", "look"] * 3]


@pytest.mark.slow
def test_the_log_of_the_run_that_made_a_release_is_kept_for_as_long_as_the_release(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    runs = [run["run_id"] for run in site.json("history")]
    for number in range(40):
        (site.state_dir / "logs" / f"20990101T0000{number:02}Z-1.log").touch()
    site.releaser("update", check=0)
    kept = {path.stem for path in (site.state_dir / "logs").glob("*.log")}
    assert len(kept) == 32
    assert {*runs} < kept
    site.releaser("logs", "live", check=0)
