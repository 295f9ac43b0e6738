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
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import Interrupted, ToolError
from releaser.sandbox import layers
from releaser.system import process, signals
from releaser.system.process import Finished, Runner, describe_status
from releaser.system.venv_environment import inside, neutral
from releaser.system.words import Redactor

SECONDS = 60.0  # how long a test waits for what should happen at once
ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


@pytest.fixture
def runner() -> Runner:
    return Runner(environ=ENV)


class Lifeline:
    """A pipe: whoever has opened its writing end is alive as long as nobody can read the end of the file."""

    def __init__(self) -> None:
        self._read, self.write = os.pipe()
        # /proc leads to the pipe: programs get no descriptor of releaser's.
        self.path = f"/proc/{os.getpid()}/fd/{self.write}"
        self.hold = f"exec 9>{self.path}; "  # the beginning of a script

    def text_until_all_are_gone(self) -> str:
        """Wait until every program that holds the pipe has ended; return what they wrote into it."""
        self.let_go()
        found = b""
        while select.select([self._read], [], [], SECONDS)[0]:
            chunk = os.read(self._read, 4096)
            if not chunk:
                return found.decode()
            found += chunk
        pytest.fail("a program is still alive")

    def line(self) -> str:
        """Wait for a line from a program."""
        found = b""
        while not found.endswith(b"\n"):
            assert select.select([self._read], [], [], SECONDS)[0], f"nothing came after {found!r}"
            found += os.read(self._read, 1)
        return found.decode().strip()

    def let_go(self) -> None:
        """Close the writing end on this side."""
        if self.write >= 0:
            os.close(self.write)
        self.write = -1

    def close(self) -> None:
        """Close both ends."""
        self.let_go()
        os.close(self._read)


@pytest.fixture
def lifeline() -> Iterator[Lifeline]:
    with contextlib.closing(Lifeline()) as found:
        yield found


def sh(
    runner: Runner,
    script: str,
    *,
    timeout: float = SECONDS,
    check: bool = True,
    merge: bool = False,
    **options: Any,
) -> Finished:
    return runner.run(["sh", "-c", script], cwd=Path("/"), timeout=timeout, check=check, merge=merge, **options)


def python(code: str, *words: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, words)]


def failure(
    runner: Runner, argv: Sequence[str | Path], *, cwd: Path = Path("/"), timeout: float = SECONDS
) -> ToolError:
    with pytest.raises(ToolError) as caught:
        runner.run(argv, cwd=cwd, timeout=timeout)
    return caught.value


# What comes back


def test_both_streams_come_back_and_standard_error_comes_last_unless_they_are_merged(runner: Runner) -> None:
    finished = sh(runner, "echo to error >&2; echo to output; exit 3", check=False)
    assert (finished.stdout, finished.stderr, finished.returncode) == ("to output\n", "to error\n", 3)
    assert finished.output == "to output\nto error"
    assert finished.argv == ("sh", "-c", "echo to error >&2; echo to output; exit 3")
    assert finished.seconds > 0
    finished = sh(
        runner, "echo one; echo two >&2; echo three", merge=True, timeout=100 * 86400.0
    )  # more than epoll takes
    assert (finished.stdout, finished.stderr) == ("one\ntwo\nthree\n", "")


def test_a_failure_tells_the_status_and_what_was_printed(runner: Runner) -> None:
    error = failure(runner, ["sh", "-c", "echo why >&2; exit 3"])
    assert (error.message, error.returncode, error.timed_out) == ("sh failed (exit status 3)", 3, False)
    assert error.output == "why"


def test_the_end_by_a_signal_is_named(runner: Runner) -> None:
    error = failure(runner, ["sh", "-c", "kill -SEGV $$"])
    assert (error.message, error.returncode) == ("sh failed (ended by SIGSEGV)", -signal.SIGSEGV)
    assert describe_status(-40) == "ended by signal 40"


def test_bytes_that_are_not_utf_8_are_replaced(runner: Runner) -> None:
    assert sh(runner, r"printf 'caf\351 \377 gr\303\274n'").stdout == "caf\ufffd \ufffd grün"


def test_a_program_gets_its_directory_and_exactly_its_environment(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_TESTS", "1")
    code = "import os; print(os.getcwd()); print(sorted(set(os.environ) - {'PWD', 'SHLVL', '_'}))"
    own = runner.run(python(code), cwd=tmp_path, timeout=SECONDS)
    given = runner.run(python(code), cwd=tmp_path, timeout=SECONDS, env={"ONE": "1"})
    assert own.stdout.splitlines() == [str(tmp_path), "['LC_ALL', 'PATH']"]
    assert given.stdout.splitlines()[1] in ("['ONE']", "['LC_CTYPE', 'ONE']")


def test_nobody_answers_a_program_that_asks(runner: Runner) -> None:
    assert sh(runner, "cat").stdout == ""
    assert "No such device" in sh(runner, "exec 2>&1; : </dev/tty; true", check=False).output


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("releaser-no-such-program", "No such file or directory"),
        ("/etc/passwd", "Permission denied"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_a_program_that_cannot_be_started_is_said_to_be_so(runner: Runner, name: str, reason: str) -> None:
    error = failure(runner, [name])
    assert error.message == f"{name} cannot be started: {reason}"
    assert error.advice == "Check that the program is installed and executable."
    assert error.returncode is None


def test_nobody_waits_for_ever_for_a_program_that_cannot_be_ended(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that has become another user's."""
    started: list[int] = []
    monkeypatch.setattr(process, "_signal_group", lambda group, _: started.append(group))
    monkeypatch.setattr(process, "GRACE", 0.1)
    try:
        message = failure(runner, ["sleep", "60"], timeout=0.1).message
        assert message == f"sleep (pid {started[0]}) cannot be ended: it now runs as another user, or hangs"
    finally:
        os.kill(started[0], signal.SIGKILL)
        os.waitpid(started[0], 0)


def test_an_interrupt_is_not_taken_for_a_program_that_cannot_be_ended(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def interrupt(*_: object, **__: object) -> bool:
        if not started:  # while it runs, and not while it is ended
            raise Interrupted(signal.SIGTERM)
        return False

    monkeypatch.setattr(process, "_follow", interrupt)
    monkeypatch.setattr(process, "_signal_group", lambda group, _: started.append(group))
    monkeypatch.setattr(process, "GRACE", 0.1)
    try:
        with pytest.raises(Interrupted):
            runner.run(["sleep", "60"], cwd=Path("/"), timeout=60)
    finally:
        os.kill(started[0], signal.SIGKILL)
        os.waitpid(started[0], 0)


def test_secrets_reach_neither_output_nor_error_nor_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="releaser")
    runner = Runner(environ=ENV, redactor=Redactor(["hunter22"]))
    finished = sh(runner, "echo pw hunter22 >&2; echo https://ann:secret@example.org")
    assert finished.output == "https://***@example.org\npw ***"
    assert "stdout=" not in repr(finished)
    assert "stderr=" not in repr(finished)
    error = failure(runner, ["sh", "-c", "echo it was hunter22; exit 1"])
    assert error.output == "it was ***"
    assert "hunter22" not in caplog.text
    assert "ann:secret" not in caplog.text


def test_what_is_parsed_is_what_was_printed() -> None:
    """A secret may be a common word, such as the name of a branch."""
    runner = Runner(environ=ENV, redactor=Redactor(["main-branch"]))
    finished = sh(runner, "echo main-branch; echo main-branch >&2")
    assert (finished.stdout, finished.stderr) == ("main-branch\n", "main-branch\n")
    assert finished.output == "***\n***"


# How much comes back


def test_of_a_long_output_the_beginning_and_the_end_are_kept(runner: Runner) -> None:
    code = "import sys; sys.stdout.write('first\\n' + 'x' * 20_000_000 + '\\nlast\\n')"
    text = runner.run(python(code), cwd=Path("/"), timeout=SECONDS).stdout
    assert text.startswith("first\nxxx")
    assert text.endswith("xxx\nlast\n")
    assert len(text) < 2 * process.KEPT_HEAD + process.KEPT_TAIL + 100
    (marker,) = (line for line in text.splitlines() if line.startswith("[... "))
    assert int(marker.split()[1]) == 20_000_012 - (len(text) - len(marker) - 2)


def test_a_secret_that_is_cut_in_two_is_left_out() -> None:
    runner = Runner(environ=ENV, redactor=Redactor(["0123456789" * 5]))
    line = "0123456789" * 5 + "\\n"
    code = f"import sys; sys.stdout.write('{line}' * 400_000 + 'end')"
    output = runner.run(python(code), cwd=Path("/"), timeout=SECONDS).output
    assert "bytes cut" in output
    assert "0" not in output.replace(re.search(r"\[\.\.\. \d+ bytes", output)[0], "")  # type: ignore[index]


@pytest.mark.parametrize(("tails", "whole"), [(1, False), (3, True)])
def test_an_output_below_the_limits_or_that_is_wanted_whole_is_whole(runner: Runner, tails: int, whole: bool) -> None:
    size = process.KEPT_HEAD + tails * process.KEPT_TAIL
    code = f"import sys; sys.stdout.write('a' * {size - 1} + 'z')"
    assert runner.run(python(code), cwd=Path("/"), timeout=SECONDS, whole=whole).stdout == "a" * (size - 1) + "z"


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


def test_a_limit_ends_the_whole_group(runner: Runner, lifeline: Lifeline) -> None:
    error = failure(runner, ["sh", "-c", f"{lifeline.hold}sh -c 'sleep 1000 & wait' & echo begun; wait"], timeout=1)
    assert (error.message, error.timed_out) == ("sh was still running after 1 s and was ended", True)
    assert error.output == "begun"
    assert lifeline.text_until_all_are_gone() == ""


def test_a_program_that_ignores_the_polite_signal_is_killed(
    runner: Runner, lifeline: Lifeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE", 0.2)
    script = f"{lifeline.hold}trap '' TERM; echo deaf; while :; do sleep 1; done"
    error = failure(runner, ["sh", "-c", script], timeout=1)
    assert (error.timed_out, error.output) == (True, "deaf")
    lifeline.text_until_all_are_gone()


def test_a_program_may_clear_up_when_its_time_is_over(runner: Runner, lifeline: Lifeline) -> None:
    script = f"{lifeline.hold}trap 'echo cleared >&9; exit' TERM; echo ready; while :; do sleep 0.1; done"
    assert failure(runner, ["sh", "-c", script], timeout=1).output.startswith("ready")
    assert lifeline.text_until_all_are_gone() == "cleared\n"


def test_a_program_that_closes_its_output_is_still_waited_for(runner: Runner) -> None:
    assert failure(runner, ["sh", "-c", "exec >&- 2>&-; sleep 1000"], timeout=0.1).timed_out


def test_what_a_program_leaves_in_its_group_is_ended_with_it(runner: Runner, lifeline: Lifeline) -> None:
    assert sh(runner, f"{lifeline.hold}sleep 1000 & echo left something").stdout == "left something\n"
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
        sh(runner, f"{lifeline.hold}setsid sh {tmp_path}/daemon & while [ ! -e {tmp_path}/there ]; do :; done")
        assert lifeline.text_until_all_are_gone() == "there\n"
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    assert any(f"left sh {tmp_path}/daemon (pid " in one for one in runner.ended)
    assert any("touch" in one for one in runner.ended)
    assert all(one.startswith("`sh -c ") and one.endswith(" running; it was ended") for one in runner.ended)


def test_what_ends_while_another_program_runs_is_ended_with_the_last_of_them(
    runner: Runner, lifeline: Lifeline
) -> None:
    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(sh, runner, "sleep 1")
        time.sleep(0.2)
        sh(runner, f"{lifeline.hold}setsid sleep 1000 & true")
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
    assert sh(runner, "exit 3", check=False).returncode == 3


def test_a_daemon_that_may_stay_keeps_the_pipe_and_does_not_keep_releaser(runner: Runner, lifeline: Lifeline) -> None:
    """Out of the group it is not ended; it reads until the test lets it go."""
    read, write = os.pipe()
    there = f"</proc/{os.getpid()}/fd/{read}"
    sh(runner, f"{lifeline.hold}setsid sh -c 'echo there >&9; read x' {there} & echo done", daemons=True)
    os.close(read)
    assert lifeline.line() == "there"
    os.close(write)
    lifeline.text_until_all_are_gone()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGTERM raise, as it does in a run."""
    with signals.raise_on_signals():
        yield


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("stays", [False, True])
def test_an_interrupt_ends_the_group_too(runner: Runner, lifeline: Lifeline, stays: bool) -> None:
    pipe = f"/proc/{os.getpid()}/fd/{lifeline.write}"
    with pytest.raises(Interrupted):
        sh(runner, f"exec 3>{pipe}; sleep 1000 & kill -TERM $PPID; wait", may_leave_service=stays)
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
        sh(runner, f"{lifeline.hold}sleep 1000")
    lifeline.text_until_all_are_gone()


@pytest.mark.parametrize("stays", [False, True])
def test_a_program_hears_of_interrupts_itself(runner: Runner, stays: bool) -> None:
    finished = sh(
        runner, "grep SigBlk /proc/self/status; kill -TERM $$; echo deaf", check=False, may_leave_service=stays
    )
    assert finished.stdout == "SigBlk:\t0000000000000000\n"
    assert finished.returncode == -signal.SIGTERM


def test_no_descriptor_is_leaked(runner: Runner) -> None:
    def act() -> None:
        sh(runner, "echo well")
        sh(runner, "sleep 1000 &", may_leave_service=False)
        sh(runner, "true", may_leave_service=True)
        failure(runner, ["false"])
        failure(runner, ["releaser-no-such-program"])
        failure(runner, ["sleep", "1000"], timeout=0.05)

    act()
    before = set(os.listdir("/proc/self/fd"))
    act()
    assert set(os.listdir("/proc/self/fd")) - before == set()  # what others had open they may close meanwhile


# Services


def test_a_service_stays_and_what_was_said_until_then_comes_back(
    runner: Runner, lifeline: Lifeline, tmp_path: Path
) -> None:
    orders = tmp_path / "orders"
    os.mkfifo(orders)
    # /proc leads to the pipe of the test: a service gets no descriptor of releaser's.
    pipe = f"/proc/{os.getpid()}/fd/{lifeline.write}"
    script = f"(read word <{orders}; echo something more; echo $word >&3) 3>{pipe} & echo the service is up"
    assert sh(runner, script, may_leave_service=True).stdout == "the service is up\n"
    orders.write_text("still here\n", encoding="utf-8")
    assert lifeline.text_until_all_are_gone() == "still here\n"


def test_a_restart_that_hangs_is_ended_all_the_same(runner: Runner) -> None:
    with pytest.raises(ToolError) as caught:
        sh(runner, "echo restarting; sleep 1000", timeout=1, may_leave_service=True)
    assert (caught.value.timed_out, caught.value.output) == (True, "restarting")


# When releaser itself is killed


def parent(lifeline: Lifeline, script: str, options: str = "") -> subprocess.Popen[bytes]:
    """Start a process that runs `script` by a Runner; the script has the lifeline open as 9."""
    code = (
        "import signal, sys; from pathlib import Path; from releaser.system.process import Runner\n"
        f"runner = Runner(environ={ENV!r})\n"
        f"runner.run(['sh', '-c', sys.argv[1]], cwd=Path('/'), timeout=60{options})"
    )
    return subprocess.Popen(python(code, lifeline.hold + script))


def test_a_program_is_killed_with_a_releaser_that_is_killed(lifeline: Lifeline) -> None:
    script = "trap 'echo termed >&9' TERM; echo up >&9; while :; do sleep 0.1; done"
    with parent(lifeline, script) as releaser:
        assert lifeline.line() == "up"
        releaser.kill()
    assert lifeline.text_until_all_are_gone() == ""


def test_a_program_may_ask_for_a_gentler_signal(lifeline: Lifeline) -> None:
    script = "trap 'echo termed >&9; exit' TERM; echo up >&9; while :; do sleep 0.1; done"
    with parent(lifeline, script, ", death_signal=signal.SIGTERM") as releaser:
        assert lifeline.line() == "up"
        releaser.kill()
    assert lifeline.text_until_all_are_gone() == "termed\n"


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


def test_inside_a_release_everything_leads_to_it() -> None:
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/root",
        "VIRTUAL_ENV": "/other",
        "UV_PROJECT_ENVIRONMENT": "/other",
        "UV_INDEX_URL": "https://other.example",
    }
    assert inside(VENV, environ) == {
        "PATH": f"{VENV}/bin:/usr/bin:/bin",
        "HOME": "/root",
        "VIRTUAL_ENV": str(VENV),
        "UV_PROJECT_ENVIRONMENT": str(VENV),
        "UV_NO_SYNC": "1",
    }
    assert environ["VIRTUAL_ENV"] == "/other"  # the caller's is left as it was


@pytest.mark.parametrize(
    ("own", "expected"), [(None, "{}"), ("", "{}"), ("/srv/site/lib:/opt", "/srv/site/lib:/opt:{}")]
)
def test_what_lies_beside_comes_behind_the_paths_of_the_site(tmp_path: Path, own: str | None, expected: str) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    environ = {"PATH": "/usr/bin"} | ({} if own is None else {"PYTHONPATH": own})
    env = inside(VENV, environ, extra_venv=tmp_path)
    assert env["PATH"] == f"{VENV}/bin:{tmp_path}/bin:/usr/bin"
    assert env["PYTHONPATH"] == expected.format(packages)
    assert env["VIRTUAL_ENV"] == str(VENV)


@pytest.mark.parametrize("environ", [{}, {"PATH": ""}])
def test_without_a_path_there_is_only_the_release_and_not_the_current_directory(environ: dict[str, str]) -> None:
    assert inside(VENV, environ)["PATH"] == f"{VENV}/bin"


def test_what_another_user_runs_is_left_and_named(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    script = "setsid sh -c 'touch it; exec sleep 60' >/dev/null 2>&1 & until [ -e it ]; do sleep 0.01; done"
    runner.run(["sh", "-c", script], cwd=tmp_path, timeout=SECONDS)
    monkeypatch.undo()
    (said,) = runner.ended
    assert said.endswith("running; it could not be ended")
    os.kill(int(re.findall(r"pid (\d+)", said)[0]), signal.SIGKILL)


def test_a_program_whose_sandbox_cannot_begin_says_so_and_does_not_run(runner: Runner, tmp_path: Path) -> None:
    layer = layers.Layer(place="/nowhere", base=str(tmp_path / "0"))
    sandbox = process.Sandbox(begin=layers.mounting([layer]))
    finished = runner.run(["touch", "mark"], cwd=tmp_path, sandbox=sandbox, check=False, timeout=SECONDS)
    assert finished.returncode == 1
    assert finished.output.startswith("The sandbox cannot be made: ")
    assert not (tmp_path / "mark").exists()
