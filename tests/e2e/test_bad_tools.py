"""Programs that are not there, fail, hang or print nonsense: uv, and the project's own tests."""

import os
from pathlib import Path

import pytest

from tests.e2e.refusals import is_running, refused, script, unfit
from tests.e2e.scenes import body, edit_pyproject, endless_server, from_server, step
from tests.support.commands import uv_executable
from tests.support.sites import SampleSite, SiteFactory, variables


@pytest.mark.story
def test_no_git_at_all(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site()
    env = {"PATH": str(tmp_path), "RELEASER_UV": str(uv_executable())}
    refused(site, env=env).says(site.path, "git cannot be started", "No such file")


def test_no_python_fits(make_site: SiteFactory) -> None:
    site = make_site()
    text = edit_pyproject(site, 'requires-python = ">=3.11"', 'requires-python = ">=99"')
    site.commit("Want too much", {"pyproject.toml": text})
    unfit(site).says(">=99", "requires-python")


def proxy(site: SampleSite, pattern: str, text: str) -> dict[str, str | None]:
    """Return settings for a uv that does `text` for calls like `pattern`, and what uv does for all others."""
    real = f'exec "{uv_executable()}" "$@"'
    place = script(site.outer / "uv", f'case " $* " in\n*{pattern}*)\n{text}\n;;\nesac\n{real}')
    return {"RELEASER_UV": str(place)}


UV_TROUBLE = [
    ("' lock '", "echo garbage > uv.lock; exit 0", ("cannot be read", "`uv lock`")),
    ("' lock '", "rm uv.lock; exit 0", ("cannot be read",)),
    ("' lock '", "kill -KILL $$", ("uv could not upgrade the lock", "SIGKILL")),
    ("' sync '", "exit 0", ("could not be built", "no environment")),
    ("' sync '", 'mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"; exit 1', ("could not be built", "exit status 1")),
]


def test_a_uv_that_fails_to_lock_or_to_build_and_tests_that_cannot_be_run(make_site: SiteFactory) -> None:
    """What they leave is removed, and no hindrance later."""
    site = make_site.adopted(due="1.1.0")
    for pattern, text, words in UV_TROUBLE:
        refused(site, code=4, env=proxy(site, pattern, text)).says_only(*words)
        assert os.listdir(site.state_dir / "releases") == [site.live_id()]
    refusal = refused(site, code=5, env={"RELEASER_TEST_COMMAND": "./manage.py test"})
    refusal.says_only("./manage.py cannot be started", "Correct `test_command`")
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"


# The project's tests

HANGS = """\
import os, pathlib, signal, subprocess, sys, time
child = "import os, time; print(os.getpid(), flush=True); time.sleep(1000)"
child_process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True)
with open(os.environ["PIDS"], "a") as file:
    print(os.getpid(), child_process.stdout.readline().strip(), file=file, flush=True)
print("started", flush=True)
time.sleep(1000)
"""
IF_NEW = "import alpha, sys\nif alpha.__version__ == '1.0.0':\n    sys.exit(0)\n"


def test_tests_that_hang(make_site: SiteFactory, tmp_path: Path) -> None:
    settings = {"test_timeout": "4s", "sandbox": "off"}  # for numbers as seen here
    site = make_site.adopted(files={"run_tests.py": IF_NEW + HANGS}, settings=settings, due="1.1.0")
    refusal = refused(site, code=5, env={"PIDS": str(tmp_path / "pids")}, timeout=600)
    refusal.says_only("did not end within 4 s", "this update is the cause", "test_timeout")
    assert "started" in refusal.report["output"]
    failed = step(refusal.report, "test")
    assert (failed["status"], "did not end within 4 s" in failed["detail"]) == ("failed", True)
    pids = [int(word) for word in (tmp_path / "pids").read_text(encoding="utf-8").split()]
    assert pids, "the tests should have begun"
    assert [pid for pid in pids if is_running(pid)] == []
    assert "did not end within 4 s" in body(site)


# An index

LIMIT = 4.0  # seconds
SLACK = 8.0  # seconds that a busy machine needs to end a program


def test_an_index_that_never_answers_ends_the_run_in_time(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=variables(uv_timeout=f"{LIMIT:g}s", min_age="7d"))
    with endless_server(()) as url:
        from_server(site, url)
        site.push_commit("Take packages from a server")
        refusal = refused(site, code=4, timeout=300)
    assert step(refusal.report, "resolve")["seconds"] < LIMIT + SLACK
    refusal.says("uv could not upgrade the lock", "still running after", "uv_timeout")
    assert "failed" in site.releaser("history").stdout
    assert site.json("status")["failed_candidates"] == []
