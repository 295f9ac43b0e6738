"""Programs that are not there, fail, hang or print nonsense: uv, and the project's own tests."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.refusals import is_running, refused, script, unfit
from tests.e2e.scenes import edit_pyproject, endless_server, from_server, step
from tests.support.commands import uv_executable
from tests.support.sites import SampleSite, SiteFactory, variables


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    return make_site(venv=True)


@pytest.fixture
def bare(make_site: SiteFactory) -> SampleSite:
    """A site that has never been installed, to be checked in this process."""
    return make_site()


@pytest.fixture
def due(site: SampleSite) -> SampleSite:
    """A site that has been adopted, and for which there is something newer."""
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    return site


# uv


@pytest.mark.story
def test_no_git_at_all(site: SampleSite, tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), "RELEASER_UV": str(uv_executable())}
    refused(site, env=env).says_only(site.path, "git cannot be started", "No such file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("head -c 30000000 /dev/urandom", "not uv's answer"),
        ("echo 'error: \033[31mred\033[0m' >&2; exit 1", "red"),
    ],
)
def test_what_uv_prints_is_shown_safely_and_in_part(site: SampleSite, text: str, words: str) -> None:
    refusal = refused(site, env={"RELEASER_UV": str(script(site.outer / "uv", text))})
    refusal.says_only(words)
    assert len(refusal.finished.stderr) < 2000
    assert "\033" not in refusal.finished.stderr


def proxy(site: SampleSite, pattern: str, text: str) -> dict[str, str | None]:
    """Return settings for a uv that does `text` for calls like `pattern`, and what uv does for all others."""
    real = f'exec "{uv_executable()}" "$@"'
    place = script(site.outer / "uv", f'case " $* " in\n*{pattern}*)\n{text}\n;;\nesac\n{real}')
    return {"RELEASER_UV": str(place)}


LOCK_TROUBLE = {
    "fails": ("echo 'error: out of luck' >&2; exit 2", ("uv could not upgrade the lock", "out of luck")),
    "no solution": ("echo 'no, never' >&2; exit 1", ("no solution", "no, never", "pyproject.toml")),
    "garbage": ("echo garbage > uv.lock; exit 0", ("cannot be read", "`uv lock`")),
    "deletes": ("rm uv.lock; exit 0", ("cannot be read",)),
    "killed": ("kill -KILL $$", ("uv could not upgrade the lock", "SIGKILL")),
}


def test_a_uv_that_fails_to_lock(due: SampleSite) -> None:
    for text, words in LOCK_TROUBLE.values():
        refused(due, code=4, env=proxy(due, "' lock '", text)).says_only(*words)
    assert [row["state"] for row in due.json("list")] == ["live"]


SYNC_TROUBLE = {
    "fails": ("echo 'error: out of luck' >&2; exit 2", ("could not be built", "out of luck")),
    "does nothing": ("exit 0", ("could not be built", "no environment")),
    "half": ('mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"; exit 1', ("could not be built", "exit status 1")),
    "killed": ("kill -KILL $$", ("could not be built", "SIGKILL")),
}


def test_a_uv_that_fails_to_build(due: SampleSite) -> None:
    """What it leaves is removed, and no hindrance later."""
    for text, words in SYNC_TROUBLE.values():
        refused(due, code=4, env=proxy(due, "' sync '", text)).says_only(*words)
        assert [row["state"] for row in due.json("list")] == ["live"]
        assert os.listdir(due.state_dir / "releases") == [due.live_id()]
    due.releaser("update", check=0)
    assert due.live_version("alpha") == "1.1.0"


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


def with_tests(make_site: SiteFactory, tests: str, **settings: object) -> SampleSite:
    """Make a site with these tests, adopted, and with something newer for it."""
    return make_site.adopted(files={"run_tests.py": tests}, settings=settings, due="1.1.0")


def pids_in(tmp_path: Path) -> Mapping[str, str]:
    return {"PIDS": str(tmp_path / "pids")}


def test_tests_that_hang(make_site: SiteFactory, tmp_path: Path) -> None:
    site = with_tests(make_site, IF_NEW + HANGS, test_timeout="4s", sandbox="off")  # for numbers as seen here
    refusal = refused(site, code=5, env=pids_in(tmp_path), timeout=600)
    refusal.says_only("did not end within 4 s", "this update is the cause", "test_timeout")
    assert "started" in refusal.report["output"]
    (failed,) = (one for one in refusal.report["steps"] if one["step"] == "test")
    assert failed["status"] == "failed"
    assert "did not end within 4 s" in failed["detail"]
    pids = [int(word) for word in (tmp_path / "pids").read_text(encoding="utf-8").split()]
    assert pids, "the tests should have begun"
    assert [pid for pid in pids if is_running(pid)] == []
    mail = site.outbox_mails()[-1].get_body(("plain",))
    assert mail is not None
    assert "did not end within 4 s" in " ".join(mail.get_content().split())


# 100 MB in lines, and 20 MB in one line.
MEGABYTES = """\
import sys
print("the beginning")
for number in range(20):
    print(f"line {number} of the tests of this site\\n" * 150_000)
    print("a complaint " * 1000, file=sys.stderr)
print("x" * 20_000_000)
print("the end", flush=True)
"""
# Notes how many kilobytes releaser itself takes at its widest; what it starts does not count, nor what has started it,
# which is in the maximum of getrusage(2).
MEASURED = """\
import re, sys
from releaser.__main__ import main
_, note, *sys.argv = sys.argv
try:
    main()
finally:
    with open(note, "w") as file:
        file.write(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


def test_tests_that_print_megabytes(make_site: SiteFactory, tmp_path: Path) -> None:
    site, note = with_tests(make_site, f"{MEGABYTES}{IF_NEW}sys.exit(1)\n"), tmp_path / "kilobytes"
    refusal = refused(site, code=5, before=[sys.executable, "-c", MEASURED, note], timeout=600)
    assert int(note.read_text(encoding="utf-8")) < 60_000
    refusal.says_only("this update is the cause")
    output = refusal.report["output"]
    assert output.startswith("the beginning\n")
    assert output.endswith("the end")
    assert "cut" in output
    assert len(output) < 100_000
    assert len(refusal.finished.stderr) < 100_000
    assert max(len(str(mail)) for mail in site.outbox_mails()) < 500_000
    newest = site.json("list")[0]["id"]
    assert len(site.json("show", newest)["test_output"]) < 100_000
    written = sum(path.stat().st_size for path in (site.state_dir / "logs").iterdir())
    assert written < 5_000_000


def test_tests_that_cannot_be_run(due: SampleSite) -> None:
    refusal = refused(due, code=5, env={"RELEASER_TEST_COMMAND": "./manage.py test"})
    refusal.says_only("./manage.py cannot be started", "Correct `test_command`")
    due.releaser("update", check=0)
    assert due.live_version("alpha") == "1.1.0"


def test_no_tests_at_all(bare: SampleSite) -> None:
    bare.git("mv", "manage.py", "administer.py")
    bare.commit("Rename it")
    unfit(bare).says_only(bare.path, "no tests were found", "test_command")


# Projects that are not fit: what real uv says of them


@pytest.mark.story
def test_no_requires_python(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.commit("Lose it", {"pyproject.toml": edit_pyproject(site, 'requires-python = ">=3.11"\n', "")})
    refused(site).says(site.path / "pyproject.toml", "requires-python", 'requires-python = ">=3.11"')


@pytest.mark.parametrize("wanted", [">=99", "banana"])
def test_no_python_fits(make_site: SiteFactory, wanted: str) -> None:
    site = make_site()
    text = edit_pyproject(site, 'requires-python = ">=3.11"', f'requires-python = "{wanted}"')
    site.commit("Want too much", {"pyproject.toml": text})
    unfit(site).says(wanted, "requires-python")


# An index that takes connections and never answers: the run ends in time, and the next one tries again


LIMIT = 4.0  # seconds
SLACK = 8.0  # seconds that a busy machine needs to end a program


def test_the_run_ends_within_the_limit_as_a_failed_resolve(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=variables(uv_timeout=f"{LIMIT:g}s", min_age="7d"))
    with endless_server(()) as url:
        from_server(site, url)
        site.push_commit("Take packages from a server")
        refusal = refused(site, code=4, timeout=300)
    assert step(refusal.report, "resolve")["seconds"] < LIMIT + SLACK
    refusal.says("uv could not upgrade the lock", "still running after", "uv_timeout")
    assert "failed" in site.releaser("history").stdout
    assert site.json("status")["failed_candidates"] == []
