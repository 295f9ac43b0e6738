"""Counts what a command of releaser does in its own process: programs started, stores made, functions entered."""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.commands import HOUSE, reachable_python
from tests.support.sites import SampleSite

_TOOLS = ("git", "uv")
_WATCHED = {"stores": "Store.__init__", "reads": "_read_release"}  # of the module releaser.releases.store
#: Runs releaser and counts. Its arguments: where to write the counts, a directory for sys.path or "", then releaser's.
_PROGRAM = f"""
import importlib, json, os, sys, types
from operator import attrgetter

report, package, tools = *sys.argv[1:3], {_TOOLS!r}
sys.argv[:3] = ["releaser"]
sys.path[:] = [*filter(None, [package]), *sys.path, {str(HOUSE)!r}]
from releaser.cli import main

home = os.path.join(os.path.dirname(sys.modules["releaser"].__file__), "")
starts, watched, entered = [], dict(), set()


def note_start(event, details):
    if event == "subprocess.Popen":
        names = [os.path.basename(os.fsdecode(word)) for word in details[1]]
        known = [name for name in names if name in tools] if names[0] == "unshare" else []
        starts.append((known or names)[0])


def note_function(frame, event, argument):
    if event == "call" and frame.f_code.co_filename.startswith(home) and frame.f_code.co_name[0] != "<":
        entered.add(frame.f_code)


def watch(key, name):
    owner, _, attribute = ("store." + name).rpartition(".")
    try:
        owner = attrgetter(owner)(importlib.import_module("releaser.releases"))
        function = vars(owner)[attribute]
    except (ImportError, AttributeError, KeyError):
        return

    def count(*arguments, **options):
        watched[key] += 1
        return function(*arguments, **options)

    if isinstance(function, types.FunctionType):
        watched[key] = 0
        setattr(owner, attribute, count)


for key, name in {_WATCHED!r}.items():
    watch(key, name)
sys.addaudithook(note_start)
sys.setprofile(note_function)
try:
    main()
finally:
    sys.setprofile(None)
    modules = set(code.co_filename for code in entered)
    counts = dict(watched, starts=starts, functions=len(entered), modules=len(modules))
    with open(report, "w") as file:
        json.dump(counts, file)
"""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a command did; `stores` and `reads` are None for a releaser that has no such function.

    `starts` has the programs that releaser itself started, by name; uv in a mounted shadow is uv.
    """

    starts: Counter[str]
    functions: int
    modules: int
    stores: int | None = None
    reads: int | None = None

    @property
    def git(self) -> int:
        """The number of starts of git."""
        return self.starts["git"]

    @property
    def uv(self) -> int:
        """The number of starts of uv."""
        return self.starts["uv"]

    @property
    def others(self) -> dict[str, int]:
        """The number of starts of each other program."""
        return {name: number for name, number in sorted(self.starts.items()) if name not in _TOOLS}


def count(site: SampleSite, command: str, *args: str | Path) -> Counts:
    """Run a command, which must succeed, and return what it did."""
    python, package = (reachable_python(), site.user.programs.parent / "lib") if site.user else (sys.executable, "")
    report = site.base / "counts.json"
    words = [python, "-P", "-c", _PROGRAM, report, str(package), *command.split(), "--project", site.path, *args]
    site.run(*words, cwd=site.base)
    answer: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return Counts(**answer | {"starts": Counter(answer["starts"])})
