"""Commands of releaser in a fork of this process: to start Python and import everything takes longer than most do."""

import os
import signal
import sys
import tempfile
import time
import traceback
from typing import IO

import pytest

from releaser.cli import main
from tests.support.commands import Finished
from tests.support.sites import SampleSite

_LONGEST = 120.0  # seconds


def run_forked(site: SampleSite, command: str, *arguments: str) -> Finished:
    """Run a command of releaser to its end, without the fault; if the site has another releaser, start that one."""
    if "PYTHONPATH" in site.env:
        return site.releaser(command, *arguments)
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        child = os.fork()
        if child == 0:
            _become(site, [command, *arguments], stdout, stderr)
        status, ends_at = os.waitpid(child, os.WNOHANG), time.monotonic() + _LONGEST
        while status[0] == 0:
            if time.monotonic() > ends_at:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                pytest.fail(f"releaser {command} was still running after {_LONGEST:g} s")
            time.sleep(0.005)
            status = os.waitpid(child, os.WNOHANG)
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read())
    return Finished(returncode=os.waitstatus_to_exitcode(status[1]), stdout=texts[0], stderr=texts[1])


def _become(site: SampleSite, words: list[str], stdout: IO[str], stderr: IO[str]) -> None:
    """Be a releaser that was started by a cron job."""
    code: object = 1
    try:
        os.setsid()
        for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (stdout.fileno(), 1), (stderr.fileno(), 2)):
            os.dup2(descriptor, target)
        os.environ.clear()
        os.environ.update(site.environment())
        tempfile.tempdir = None  # it was that of the tests
        os.chdir("/")
        sys.argv = ["releaser", words[0], "--project", str(site.path), *words[1:]]
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)
