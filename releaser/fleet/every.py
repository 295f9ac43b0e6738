"""A command for many sites: a process for each, as its owner. A site that hangs, floods or dies harms no other."""

from __future__ import annotations

import functools
import os
import pwd
import re
import shutil
import signal
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import releaser
from releaser.errors import Problem, ToolError
from releaser.fleet.sites import LONGEST, ListedSite
from releaser.system import process
from releaser.system.text import find_error_line, format_seconds

QUESTION_LIMIT = 300.0  # seconds for one site that is only asked
LARGEST_ANSWER = 4 << 20  # bytes
NO_ANSWER = 4  # the exit code of a site that gave none
_GRACE = 60.0  # seconds for a site that is asked to end: a change has to be finished, or undone
#: What others get of the environment. The rest may be secrets of whoever started this.
_SHARED = re.compile(r"PATH|LANG|LANGUAGE|LC_\w+|TZ|PYTHON(?:DONTWRITEBYTECODE|WARNINGS)")
#: Proxies, unless they have a password.
_PROXY = re.compile(r"(?:https?|all|no)_proxy", re.IGNORECASE)
#: The digest tells its recipients. A command for all sites has no project.
_OWN = ("RELEASER_PROJECT", "RELEASER_UPDATER_ADMINS", "AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON")
_START = "import sys; sys.argv[0] = 'releaser'; sys.path[:0] = [{!r}]; from releaser.cli import main; main()"
#: Exit codes, the worst first: what visitors may notice, what waits for a person, what may pass by itself.
_WORST = (NO_ANSWER + 128, 1, 6, 7, 3, 5, 4, 2, 10, 9, 8, 0)


class Answer(msgspec.Struct, frozen=True):
    """What a command says of a site. `answer` is its JSON; None if there is none, and `reason` says why.

    A site that `waits` was not asked, since one of the `first` sites did not end well.
    """

    site: str
    owner: str
    exit_code: int
    seconds: float = 0
    answer: dict[str, Any] | None = None
    reason: str = ""
    waits: bool = False


def ask_all(
    sites: Sequence[ListedSite],
    words: Sequence[str],
    environ: Mapping[str, str],
    *,
    jobs: int = 1,
    limit: float = QUESTION_LIMIT,
    on_answer: Callable[[Answer], None] = lambda answer: None,
) -> list[Answer]:
    """Return what a command such as `status` says of each site, in their order. Never raises because of a site.

    `words` are the command and its options, without `--project` and `--json`. So many `jobs` run at once, each site
    for `limit` seconds at most. `on_answer` is called, maybe in a child, when a site has answered.
    """
    reader, writer = os.pipe()
