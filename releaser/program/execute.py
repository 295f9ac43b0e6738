"""`releaser exec`: the starter, for a project that exists. It imports little, as it runs before each start."""

import getopt
import os
import sys

from releaser.program import starter

USAGE = "releaser exec: run `releaser exec [--refresh TIME] [--wait TIME] [--project PATH] -- COMMAND…`.\n"


def start(arguments: list[str]) -> None:
    """Update the project if that is due, and become the command. Ends this process with 2 for wrong arguments."""
    try:
        options, words = getopt.getopt(arguments, "", ["refresh=", "wait=", "project="])
    except getopt.GetoptError:
        options, words = [], []
    values = {
        "--refresh": "daily",
        "--wait": "5s",
        "--project": os.environ.get("RELEASER_PROJECT", "."),
        **dict(options),
    }
    if not words:
        sys.stderr.write(USAGE)
        sys.exit(2)
    for option in ("--refresh", "--wait"):
        starter.read_seconds(option, values[option])
    project = os.path.realpath(values["--project"])
    while not os.path.exists(os.path.join(project, "pyproject.toml")) and project != "/":
        project = os.path.dirname(project)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    starter.PLACE = os.path.join(cache, "releaser", project.strip("/").replace("/", "%"))
    starter.PROJECT, starter.REFRESH, starter.WAIT = project, values["--refresh"], values["--wait"]
    starter.RELEASER = [sys.executable, "-I", "-m", "releaser"]
    try:
        starter.start(words)
    except KeyboardInterrupt:
        sys.exit(130)
