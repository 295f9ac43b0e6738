"""`releaser exec`: a program looks for updates as it starts, and starts whatever comes of that."""

import contextlib
import os
import socket
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import releaser
from releaser.site.location import LOOKED
from tests.e2e.scenes import MEETING_TESTS, SECONDS, eventually, meeting
from tests.support.commands import Finished, console_script, run
from tests.support.sites import SampleSite, SiteFactory

VERSION = ("python", "-c", "import alpha; print(alpha.__version__)")
LONG = "60s"  # more than any update takes here


def start(site: SampleSite, *options: str, wait: str = LONG, check: int = 0) -> Finished:
    """Start the program of the site as its users do; it prints the version that it runs with."""
    return site.releaser("exec", "--refresh", "daily", "--wait", wait, *options, "--", *VERSION, check=check)


def looks(site: SampleSite) -> list[int]:
    """Return the exit codes of the updates so far, newest first."""
    return [run["exit_code"] for run in site.json("history") if run["command"] == "update"]


def forget(site: SampleSite) -> None:
    """Let it be due again, as on the next day."""
    (site.state_dir / LOOKED).unlink()
    (site.state_dir / "history.jsonl").unlink()


@pytest.mark.story
def test_a_program_updates_itself_once_a_day_as_it_starts(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    assert start(site).stdout == "1.1.0\n"
    site.publish("alpha", "1.2.0")
    again = start(site)
    assert (again.stdout, again.stderr) == ("1.1.0\n", "")  # nobody looks twice a day
    assert looks(site) == [0]
    forget(site)
    assert start(site, "--quiet").stdout == "1.2.0\n"  # read by the whole command line
    site.releaser("rollback", check=0)  # a broken update is taken back as any other ...
    forget(site)
    assert start(site).stdout == "1.1.0\n"  # ... and stays away


def test_a_refused_update_starts_the_program_on_what_is_live(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0", broken=True)
    finished = start(site)
    assert finished.stdout == "1.0.0\n"
    (line,) = finished.stderr.splitlines()
    assert line.startswith("releaser: ")
    assert line.endswith("see `releaser history`")
    assert start(site).stderr == ""  # which is told once
    assert looks(site) == [5]
    assert list((site.state_dir / "logs").glob("*.log"))


def test_a_network_that_is_away_is_asked_again_after_an_hour(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.index.path.rename(site.outer / "away")
    finished = start(site)
    assert (finished.stdout, looks(site)) == ("1.0.0\n", [4])
    assert "`releaser history`" in finished.stderr
    at, again = map(float, (site.state_dir / LOOKED).read_text(encoding="ascii").split())
    assert 3300 < again - at <= 3600
    assert start(site).stderr == ""
    assert looks(site) == [4]
    (site.outer / "away").rename(site.index.path)
    site.publish("alpha", "1.1.0")
    forget(site)
    assert start(site).stdout == "1.1.0\n"


def test_a_network_that_hangs_keeps_no_program_from_starting(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
        address = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        site.push_commit(
            "Another index", {"pyproject.toml": text.replace("no-index = true", f'index-url = "{address}"')}
        )
        began = time.monotonic()
        assert start(site, wait="1s").stdout == "1.0.0\n"
        assert time.monotonic() - began < 20
        server.settimeout(SECONDS)
        with server.accept()[0]:  # takes the question, and never answers it
            assert start(site).stdout == "1.0.0\n"
            assert looks(site) == []
    eventually(lambda: looks(site) == [4], "the end of the update")


def test_an_update_goes_on_without_the_program_and_holds_nothing_of_it(make_site: SiteFactory) -> None:
    """What reads the output of the program sees its end, and its terminal and session end with it."""
    site = make_site.adopted(files={"run_tests.py": MEETING_TESTS}, due="1.1.0")
    with meeting() as met:
        words = [console_script(), "exec", "--project", site.path, "--refresh", "daily", "--wait", "1s", "--", *VERSION]
        env = site.environment(met.env)
        with subprocess.Popen(
            list(map(str, words)), cwd=site.outer, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        ) as process:  # fmt: skip
            assert process.communicate(timeout=60) == ("1.0.0\n", "")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 1)
        with met.kept_waiting():
            assert start(site).stdout == "1.0.0\n"  # another start does not look as well
    eventually(lambda: looks(site) == [0], "the end of the update")
    assert start(site).stdout == "1.1.0\n"


def test_two_programs_that_start_at_once_look_once(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    with ThreadPoolExecutor() as pool:
        said = sorted((one.stdout, one.stderr) for one in pool.map(start, [site, site]))
    assert said == [("1.0.0\n", ""), ("1.1.0\n", "")]
    assert looks(site) == [0]


def test_whatever_fails_in_releaser_the_program_starts(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    (site.state_dir / LOOKED).mkdir()
    finished = start(site)
    assert finished.stdout == "1.0.0\n"
    assert finished.stderr.startswith("releaser: could not check for updates: ")
    assert len(finished.stderr.splitlines()) == 1
    (site.state_dir / LOOKED).rmdir()
    (site.state_dir / LOOKED).write_text("what no releaser has written", encoding="ascii")
    (site.state_dir / "ledger.json").write_text("{", encoding="ascii")
    assert start(site, "--verbose").stdout == "1.0.0\n"  # an option that the quick way does not know
    assert looks(site) == [0]


def test_what_a_program_becomes_does_not_look_again(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    again = f"exec {console_script()} exec --refresh 1s --project {site.path} -- {VERSION[0]} -c '{VERSION[2]}'"
    words = ("--refresh", "1s", "--wait", LONG, "--", "sh", "-c", f"sleep 1.1; {again}")
    assert site.releaser("exec", *words, check=0).stdout == "1.0.0\n"
    assert len(looks(site)) == 1


@pytest.mark.story
def test_exec_hands_everything_to_the_program(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.releaser("exec", "--", "sh", "-c", "exit 42", check=42)
    script = "echo $0 $$ $PWD; cat; yes | head -c 2"
    words = [str(console_script()), "exec", "--project", str(site.path), "sh", "-c", script]
    with subprocess.Popen(
        words, cwd=site.outer, env=site.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        said, complaint = process.communicate("given\n", timeout=60)
    assert said == f"sh {process.pid} {site.outer}\ngiven\ny\n"
    assert complaint == ""  # a program that nobody reads any more ends as it does elsewhere
    for words in (["--refresh", "often"], ["--wait", "5"], ["--refresh", "0s"]):
        assert "invalid value" in site.releaser("exec", *words, "--", "true", check=2).stderr


# The API

ASKED = """
import os, sys
from releaser import api, errors
updated = api.update("alpha", project=sys.argv[1])
print(updated.result, [(one.name, one.new) for one in updated.changes], file=sys.stderr)
print([one.state for one in api.releases(sys.argv[1])], api.status(sys.argv[1]).live == updated.release)
print(api.rollback(project=sys.argv[1]).result)
for call in (lambda: api.rollback("none", project=sys.argv[1]), lambda: api.update(project="/nowhere")):
    try:
        call()
    except errors.ReleaserError as error:
        print(type(error).__name__, bool(error.message and error.advice))
"""
REQUIRING = """
import os, sys
print(os.getpid(), flush=True)
from releaser import api
print(api.require("alpha>=1.1", "daily", project=sys.argv[1]))
import alpha
print(alpha.__version__)
"""


def test_a_program_in_python_asks_for_all_of_that(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    words: list[str | Path] = [sys.executable, "-c", ASKED, site.path]
    finished = run(words, cwd=site.outer, env=site.environment(), check=0)
    assert finished.stderr == "updated [('alpha', '1.1.0')]\n"
    assert finished.stdout.splitlines() == [
        "['live', 'previous'] True", "rolled-back", "NoSuchReleaseError True", "PreflightError True",
    ]  # fmt: skip


def test_a_program_that_requires_more_updates_and_restarts_itself_once(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    start(site)
    site.publish("alpha", "1.1.0")  # after the look of this day
    (site.outer / "tool.py").write_text(REQUIRING, encoding="utf-8")
    # The program finds releaser where the tests have it; programs of sites have it among their packages.
    paths = os.pathsep.join([str(Path(releaser.__file__).parents[1]), sysconfig.get_path("purelib")])
    script = f"cd {site.outer}; PYTHONPATH={paths} exec python tool.py {site.path}"
    finished = site.releaser("exec", "--", "sh", "-c", script, check=0)
    first, second, *rest = finished.stdout.splitlines()
    assert (first, rest) == (second, ["1.1.0", "1.1.0"])
    assert looks(site) == [0, 0]
    site.publish("alpha", "1.2.0")
    finished = site.releaser("exec", "--", "sh", "-c", script, check=0)
    assert finished.stdout.splitlines()[1:] == ["1.1.0", "1.1.0"]  # which is enough
    (site.outer / "tool.py").write_text(REQUIRING.replace("1.1", "1.3"), encoding="utf-8")
    for _ in range(2):
        finished = site.releaser("exec", "--", "sh", "-c", script, check=1)
        assert "RequirementError: alpha>=1.3 is required, but " in finished.stderr
    assert looks(site) == [0, 0, 0, 0]
