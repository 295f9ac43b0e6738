"""Starting programs: limits, survivors, output; with real programs throughout."""

import contextlib
import logging
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import Interrupted, ToolError
from releaser.system import process, signals
from releaser.system.process import Finished, Runner, describe_status
from releaser.system.venv_environment import inside, neutral
from releaser.system.words import Redactor

SECONDS = 60.0  # how long a test waits for what should happen at once
ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
Words = str | Sequence[str]


@pytest.fixture
def runner() -> Runner:
    return Runner(environ=ENV)


class Lifeline:
    """A pipe: a program that has opened its writing end is alive as long as nobody can read the end of the file."""

    def __init__(self) -> None:
        read, write = os.pipe()
        self._reader, self._writer = FileIO(read), FileIO(write, "w")
        # The beginning of a script. /proc leads to the pipe: programs get no descriptor of releaser's.
        self.hold = f"exec 9>/proc/{os.getpid()}/fd/{write}; "

    def _read(self, size: int) -> bytes:
        assert select.select([self._reader], [], [], SECONDS)[0], "a program is still alive, and says nothing"
        return self._reader.read(size) or b""

    def line(self) -> str:
        """Wait for a line from a program."""
        return b"".join(iter(lambda: self._read(1), b"\n")).decode()

    def text_until_all_are_gone(self) -> str:
        """Wait until every program that holds the pipe has ended; return what they wrote into it."""
        self._writer.close()
        return b"".join(iter(lambda: self._read(4096), b"")).decode()

    def close(self) -> None:
        self._writer.close()
        self._reader.close()


@pytest.fixture
def lifeline() -> Iterator[Lifeline]:
    with contextlib.closing(Lifeline()) as found:
        yield found


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def run(runner: Runner, words: Words, **options: Any) -> Finished:
    """Run a program, or a script of the shell."""
    argv = ["sh", "-c", words] if isinstance(words, str) else words
    return runner.run(argv, **{"cwd": Path("/"), "timeout": SECONDS, **options})


def failure(runner: Runner, words: Words, **options: Any) -> ToolError:
    with pytest.raises(ToolError) as caught:
        run(runner, words, **options)
    return caught.value


# What comes back


def test_both_streams_come_back_and_standard_error_comes_last_unless_they_are_merged(runner: Runner) -> None:
    script = "echo to error >&2; echo to output; exit 3"
    finished = run(runner, script, check=False)
    assert (finished.stdout, finished.stderr, finished.returncode) == ("to output\n", "to error\n", 3)
    assert (finished.output, finished.argv) == ("to output\nto error", ("sh", "-c", script))
    assert finished.seconds > 0
    longest = 100 * 86400.0  # more than epoll takes
    finished = run(runner, "echo one; echo two >&2; echo three", merge=True, timeout=longest)
    assert (finished.stdout, finished.stderr) == ("one\ntwo\nthree\n", "")


MISSING = "releaser-no-such-program"


@pytest.mark.parametrize(
    ("words", "message", "status", "output"),
    [
        ("echo why >&2; exit 3", "sh failed (exit status 3)", 3, "why"),
        ("kill -SEGV $$", "sh failed (ended by SIGSEGV)", -signal.SIGSEGV, ""),
        ([MISSING], f"{MISSING} cannot be started: No such file or directory", None, ""),
        (["/etc/passwd"], "/etc/passwd cannot be started: Permission denied", None, ""),
        (["a\0b"], "a\0b cannot be started: embedded null byte", None, ""),
    ],
)
def test_a_failure_tells_the_status_and_what_was_printed(
    runner: Runner, words: Words, message: str, status: int | None, output: str
) -> None:
    error = failure(runner, words)
    assert (error.message, error.returncode, error.output, error.timed_out) == (message, status, output, False)
    assert describe_status(-40) == "ended by signal 40"


def test_nobody_answers_a_program_that_asks_and_bytes_that_are_not_utf_8_are_replaced(runner: Runner) -> None:
    assert run(runner, "cat").stdout == ""
    assert "No such device" in run(runner, "exec 2>&1; : </dev/tty; true", check=False).output
    assert run(runner, r"printf 'caf\351 \377 gr\303\274n'").stdout == "caf\ufffd \ufffd grün"


def test_a_program_gets_its_directory_and_exactly_its_environment(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_TESTS", "1")
    words = python("import os; print(os.getcwd()); print(sorted(set(os.environ) - {'PWD', 'SHLVL', '_'}))")
    assert run(runner, words, cwd=tmp_path).stdout.splitlines() == [str(tmp_path), "['LC_ALL', 'PATH']"]
    given = run(runner, words, env={"ONE": "1"}).stdout.splitlines()
    assert given[1] in ("['ONE']", "['LC_CTYPE', 'ONE']")


@pytest.fixture
def unended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let a program get no signal, as one that has become another user's; what is given will have its id."""
    started: list[int] = []
    monkeypatch.setattr(process, "_signal_group", lambda group, _: started.append(group))
    monkeypatch.setattr(process, "GRACE", 0.1)
    yield started
    os.kill(started[0], signal.SIGKILL)
    os.waitpid(started[0], 0)


def test_nobody_waits_for_ever_for_a_program_that_cannot_be_ended(runner: Runner, unended: list[int]) -> None:
    message = failure(runner, ["sleep", "60"], timeout=0.1).message
    assert message == f"sleep (pid {unended[0]}) cannot be ended: it now runs as another user, or hangs"


def test_an_interrupt_is_not_taken_for_a_program_that_cannot_be_ended(
    runner: Runner, unended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> bool:
        if not unended:  # while it runs, and not while it is ended
            raise Interrupted(signal.SIGTERM)
        return False

    monkeypatch.setattr(process, "_follow", interrupt)
    with pytest.raises(Interrupted):
        run(runner, ["sleep", "60"])


def test_secrets_reach_neither_output_nor_error_nor_log_and_what_is_parsed_is_what_was_printed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A secret may be a common word, such as the name of a branch."""
    caplog.set_level(logging.DEBUG, logger="releaser")
    runner = Runner(environ=ENV, redactor=Redactor(["hunter22"]))
    finished = run(runner, "echo pw hunter22 >&2; echo https://ann:secret@example.org")
    assert finished.output == "https://***@example.org\npw ***"
    assert (finished.stdout, finished.stderr) == ("https://ann:secret@example.org\n", "pw hunter22\n")
    assert failure(runner, "echo it was hunter22; exit 1").output == "it was ***"
    assert not re.search("stdout=|stderr=", repr(finished))
    assert not re.search("hunter22|ann:secret", caplog.text)


# How much comes back


def test_of_a_long_output_the_beginning_and_the_end_are_kept_and_less_of_it_is_logged(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    """30 logs are kept, each of which has all programs of a run."""
    caplog.set_level(logging.DEBUG, logger="releaser")
    code = "import sys; sys.stdout.write('first\\n' + 'x' * 20_000_000 + '\\nlast\\n')"
    text = run(runner, python(code)).stdout
    assert re.fullmatch(r"first\nx+\n\[\.\.\. \d+ bytes cut \.\.\.\]\nx+\nlast\n", text)
    assert len(text) < 2 * process.KEPT_HEAD + process.KEPT_TAIL + 100
    (marker,) = (line for line in text.splitlines() if line.startswith("[... "))
    assert int(marker.split()[1]) == 20_000_012 - (len(text) - len(marker) - 2)
    assert "characters cut" in caplog.text
    assert 2 * process.LOGGED < len(caplog.text) < 2 * process.LOGGED + 1000


def test_a_secret_that_is_cut_in_two_is_left_out() -> None:
    secret = "0123456789" * 5
    code = f"import sys; sys.stdout.write('{secret}\\n' * 400_000 + 'end')"
    output = run(Runner(environ=ENV, redactor=Redactor([secret])), python(code)).output
    assert "bytes cut" in output
    assert "0" not in re.sub(r"\[\.\.\. \d+ bytes", "", output)


@pytest.mark.parametrize(("tails", "whole"), [(1, False), (3, True)])
def test_an_output_below_the_limits_or_that_is_wanted_whole_is_whole(runner: Runner, tails: int, whole: bool) -> None:
    size = process.KEPT_HEAD + tails * process.KEPT_TAIL
    code = f"import sys; sys.stdout.write('a' * {size - 1} + 'z')"
    assert run(runner, python(code), whole=whole).stdout == "a" * (size - 1) + "z"


def test_memory_stays_bounded_whatever_a_program_prints() -> None:
    code = (
        "from pathlib import Path; from releaser.system.process import Runner\n"
        "words = ['sh', '-c', 'yes out | head -c 100000000; yes err | head -c 100000000 >&2; exit 1']\n"
        "Runner(environ={'PATH': '/usr/bin:/bin'}).run(words, cwd=Path('/'), timeout=60, check=False)\n"
        # Not getrusage(2): its peak outlives exec(2), so that it shows how large the tests themselves are.
        "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    )
    finished = subprocess.run(python(code), check=True, capture_output=True, text=True, timeout=SECONDS)
    assert int(finished.stdout) < 50_000  # KiB; two hundred thousand went through


# How long it takes, and who survives


@pytest.mark.parametrize(
    ("script", "said", "last", "stays"),
    [
        ("sh -c 'sleep 1000 & wait' & echo begun; wait", "begun", "", False),
        ("trap '' TERM; echo deaf; while :; do sleep 1; done", "deaf", "", False),
        ("exec >&- 2>&-; sleep 1000", "", "", False),
        ("trap 'echo cleared >&9; exit' TERM; echo up; while :; do sleep 0.1; done", "up", "cleared\n", False),
        ("echo restarting; sleep 1000", "restarting", "", True),
        ("trap '' TERM; echo deaf; while :; do sleep 1; done", "deaf", "", True),
    ],
    ids=["a whole group", "deaf to the polite signal", "its output closed", "clears up", "a restart", "a deaf restart"],
)
def test_what_takes_too_long_is_ended(
    runner: Runner, lifeline: Lifeline, monkeypatch: pytest.MonkeyPatch, script: str, said: str, last: str, stays: bool
) -> None:
    if "deaf" in script:
        monkeypatch.setattr(process, "GRACE", 0.2)
    error = failure(runner, lifeline.hold + script, timeout=1, may_leave_service=stays)
    assert (error.message, error.timed_out) == ("sh was still running after 1 s and was ended", True)
    assert error.output.splitlines()[:1] == said.split()  # the shell may name what was terminated
    assert lifeline.text_until_all_are_gone() == last


def test_what_a_program_leaves_in_its_group_is_ended_with_it(runner: Runner, lifeline: Lifeline) -> None:
    assert run(runner, f"{lifeline.hold}sleep 1000 & echo left something").stdout == "left something\n"
    (said,) = runner.ended
    assert re.fullmatch(r"`sh -c .*` left sleep 1000 \(pid \d+\) running; it was ended", said)
    lifeline.text_until_all_are_gone()


@pytest.mark.parametrize("refuses", ["", "trap '' TERM; "])
def test_a_daemon_that_leaves_the_group_is_ended_and_named(
    runner: Runner, lifeline: Lifeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    """So is what it starts, in a group of its own again; and nothing that this process has started otherwise."""
    monkeypatch.setattr(signals, "GRACE", 0.5)
    inner = f"{refuses}echo there >&9; touch {tmp_path}/there; while :; do sleep 1000; done"
    (tmp_path / "daemon").write_text(f'setsid sh -c "{inner}" & {refuses}wait\n', encoding="utf-8")
    other = subprocess.Popen(["sleep", "1000"])
    try:
        run(runner, f"{lifeline.hold}setsid sh {tmp_path}/daemon & while [ ! -e {tmp_path}/there ]; do :; done")
        assert lifeline.text_until_all_are_gone() == "there\n"
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    assert any(f"left sh {tmp_path}/daemon (pid " in one for one in runner.ended)
    assert any("touch" in one for one in runner.ended)
    assert all(one.startswith("`sh -c ") and one.endswith(" running; it was ended") for one in runner.ended)


def test_what_another_user_runs_is_left_and_named(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    script = "setsid sh -c 'touch it; exec sleep 60' >/dev/null 2>&1 & until [ -e it ]; do sleep 0.01; done"
    run(runner, script, cwd=tmp_path)
    monkeypatch.undo()
    (said,) = runner.ended
    assert said.endswith("running; it could not be ended")
    os.kill(int(re.findall(r"pid (\d+)", said)[0]), signal.SIGKILL)


def test_what_ends_while_another_program_runs_is_ended_with_the_last_of_them(
    runner: Runner, lifeline: Lifeline
) -> None:
    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(run, runner, "sleep 1")
        time.sleep(0.2)
        run(runner, f"{lifeline.hold}setsid sleep 1000 & true")
        last.result()
    lifeline.text_until_all_are_gone()


def test_who_stops_a_runner_takes_no_status_from_the_thread_that_waits(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_once_it_has_ended(program: subprocess.Popen[bytes], *_: object, **__: object) -> bool:
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        runner.stop()
        return True

    monkeypatch.setattr(process, "_follow", stop_once_it_has_ended)
    assert run(runner, "exit 3", check=False).returncode == 3


@pytest.mark.parametrize(
    ("kind", "program", "says"),
    [("daemons", "setsid sh", ""), ("may_leave_service", "sh", "echo something more; ")],
)
def test_what_may_stay_goes_on_and_does_not_keep_releaser(
    runner: Runner, lifeline: Lifeline, tmp_path: Path, kind: str, program: str, says: str
) -> None:
    """A service may say more, and be in the group of what starts it."""
    orders, up = tmp_path / "orders", tmp_path / "up"
    os.mkfifo(orders)
    waits = f"{program} -c 'touch {up}; read word <{orders}; {says}echo $word >&9'"
    script = f"{lifeline.hold}{waits} & exec 9>&-; until [ -e {up} ]; do :; done; echo it is up"
    assert run(runner, script, **{kind: True}).stdout == "it is up\n"
    orders.write_text("still here\n", encoding="utf-8")
    assert lifeline.text_until_all_are_gone() == "still here\n"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGTERM raise, as it does in a run."""
    with signals.raise_on_signals():
        yield


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("stays", [False, True])
def test_an_interrupt_ends_the_group_too(runner: Runner, lifeline: Lifeline, stays: bool) -> None:
    with pytest.raises(Interrupted):
        run(runner, f"{lifeline.hold}sleep 1000 & kill -TERM $PPID; wait", may_leave_service=stays)
    lifeline.text_until_all_are_gone()


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_while_a_program_is_started_ends_it_as_well(
    runner: Runner, lifeline: Lifeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: it runs already, and nobody knows it yet."""
    start = subprocess.Popen.__init__

    def interrupted_start(self: subprocess.Popen[bytes], *args: Any, **options: Any) -> None:
        start(self, *args, **options)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess.Popen, "__init__", interrupted_start)
    with pytest.raises(Interrupted):
        run(runner, f"{lifeline.hold}sleep 1000")
    lifeline.text_until_all_are_gone()


@pytest.mark.parametrize("stays", [False, True])
def test_a_program_hears_of_interrupts_itself(runner: Runner, stays: bool) -> None:
    script = "grep SigBlk /proc/self/status; kill -TERM $$; echo deaf"
    finished = run(runner, script, check=False, may_leave_service=stays)
    assert (finished.stdout, finished.returncode) == ("SigBlk:\t0000000000000000\n", -signal.SIGTERM)


def test_no_descriptor_is_leaked(runner: Runner) -> None:
    def act() -> None:
        run(runner, "echo well")
        run(runner, "sleep 1000 &")
        run(runner, "true", may_leave_service=True)
        for words in (["false"], [MISSING], ["sleep", "1000"]):
            failure(runner, words, timeout=0.05)

    act()
    before = set(os.listdir("/proc/self/fd"))
    act()
    assert set(os.listdir("/proc/self/fd")) - before == set()  # what others had open they may close meanwhile


@pytest.mark.parametrize(
    ("options", "said"), [("", ""), (", death_signal=signal.SIGTERM", "termed\n")], ids=["killed", "gently"]
)
def test_a_program_ends_with_a_releaser_that_is_killed(lifeline: Lifeline, options: str, said: str) -> None:
    code = (
        "import signal, sys; from pathlib import Path; from releaser.system.process import Runner\n"
        f"runner = Runner(environ={ENV!r})\n"
        f"runner.run(['sh', '-c', sys.argv[1]], cwd=Path('/'), timeout=60{options})"
    )
    script = f"{lifeline.hold}trap 'echo termed >&9; exit' TERM; echo up >&9; while :; do sleep 0.1; done"
    with subprocess.Popen([*python(code), script]) as releaser:
        assert lifeline.line() == "up"
        releaser.kill()
    assert lifeline.text_until_all_are_gone() == said


# What of the environment reaches the programs that releaser starts


VENV = Path("/srv/.releaser/site/releases/A/venv")

PASSING = [
    # how to reach and store things
    "UV_CACHE_DIR", "UV_PYTHON_DOWNLOADS", "UV_PYTHON_INSTALL_DIR", "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES",
    "UV_CONCURRENT_DOWNLOADS", "UV_CONCURRENT_BUILDS", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_KEYRING_PROVIDER",
    "UV_INDEX_PRIVATE_USERNAME", "UV_INDEX_PRIVATE_PASSWORD", "UV_GITHUB_TOKEN", "UV_OFFLINE", "UV_LOCK_TIMEOUT",
    "UV_REQUEST_TIMEOUT",
    # what is not about any of this
    "PATH", "HOME", "LANG", "LC_ALL", "SSL_CERT_FILE", "HTTPS_PROXY", "no_proxy", "DJANGO_SETTINGS_MODULE",
    "PYTHONPATH", "PYTHONWARNINGS", "GIT_SSH_COMMAND", "GIT_CONFIG_GLOBAL", "GIT_AUTHOR_NAME", "SSH_AUTH_SOCK",
    "UVICORN_PORT", "uv_index",
]  # fmt: skip
DROPPED = [
    # what is installed, from where, and how it is verified
    "UV_INDEX", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX",
    "UV_INDEX_STRATEGY", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE_NEWER", "UV_PRERELEASE", "UV_RESOLUTION",
    "UV_INSECURE_HOST", "UV_NO_VERIFY_HASHES", "UV_REQUIRE_HASHES", "UV_NO_BINARY", "UV_NO_BUILD",
    # where it is installed, for which Python, by which configuration
    "UV_PROJECT_ENVIRONMENT", "UV_PROJECT", "UV_WORKING_DIRECTORY", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_LINK_MODE",
    "UV_CONFIG_FILE", "UV_NO_CONFIG", "UV_FROZEN", "UV_LOCKED", "UV_NO_SYNC", "UV_NO_CACHE", "UV_DEV", "UV_NO_DEV",
    "UV_COMPILE_BYTECODE", "UV_ENV_FILE", "UV_ISOLATED", "UV_INDEX_PRIVATE", "UV_WHATEVER_COMES_NEXT",
    # another venv, another repository
    "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "CONDA_PREFIX", "PYTHONHOME", "PYTHONSTARTUP", "GIT_DIR", "GIT_WORK_TREE",
    "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX",
]  # fmt: skip


def test_what_would_mislead_is_dropped_and_all_else_passes() -> None:
    assert sorted(neutral(dict.fromkeys([*PASSING, *DROPPED], "x"))) == sorted(PASSING)


@pytest.mark.parametrize(
    ("own", "path", "packages"),
    [
        ({"PATH": "/usr/bin:/bin"}, ":/usr/bin:/bin", "{}"),
        ({"PYTHONPATH": ""}, "", "{}"),
        ({"PATH": "", "PYTHONPATH": "/srv/site/lib:/opt"}, "", "/srv/site/lib:/opt:{}"),
    ],
)
def test_inside_a_release_everything_leads_to_it_and_what_lies_beside_comes_last(
    tmp_path: Path, own: dict[str, str], path: str, packages: str
) -> None:
    """Without a PATH, there is only the release, and not the current directory."""
    beside = tmp_path / "lib" / "python3.11" / "site-packages"
    beside.mkdir(parents=True)
    misleading = dict.fromkeys(("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_INDEX_URL"), "/other")
    environ = {**own, "HOME": "/root", **misleading}
    leading = {"HOME": "/root", "VIRTUAL_ENV": str(VENV), "UV_PROJECT_ENVIRONMENT": str(VENV), "UV_NO_SYNC": "1"}
    assert inside(VENV, environ) == {**own, **leading, "PATH": f"{VENV}/bin{path}"}
    assert environ["VIRTUAL_ENV"] == "/other"  # the caller's is left as it was
    added = {"PATH": f"{VENV}/bin:{tmp_path}/bin{path}", "PYTHONPATH": packages.format(beside)}
    assert inside(VENV, environ, extra_venv=tmp_path) == {**leading, **added}


def test_a_program_in_the_background_leaves_the_processors_to_others(tmp_path: Path) -> None:
    def niceness(**options: Any) -> int:
        words = [sys.executable, "-c", "import os; print(os.nice(0))"]
        return int(Runner(environ=os.environ).run(words, cwd=tmp_path, timeout=60.0, **options).stdout)

    assert niceness(in_background=True) == min(niceness() + 10, 19)
