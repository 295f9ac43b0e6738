"""Runs a program on a terminal of its own, as a person sees it."""

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_on_terminal(words: Sequence[str], *, cwd: Path, env: Mapping[str, str], columns: int = 80) -> tuple[int, str]:
    """Run a program to its end; return its exit code and all that the terminal got, control codes included."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {**env, "TERM": "xterm-256color"}
    with subprocess.Popen(words, cwd=cwd, env=env, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is gone once no program has it any more
            while data := os.read(master, 65536):
                shown += data
    os.close(master)
    return process.returncode, shown.decode(errors="replace")


def read_screen(shown: str, *, coloured: bool = False) -> str:
    """Return the text that stays on the screen, without lines that were written over."""
    text = re.sub(r"\r?\n[^\n]{0,9}\x1b\[1A\x1b\[2K", "\r", shown)  # up by a line, and cleared
    text = "\n".join(line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n"))
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-ln-z]" if coloured else r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
