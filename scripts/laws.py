"""Print which tests hold each law; exit 1 if a law has none. With --quiet, print only such laws.

The name of a test says which: `test_law_07_…`; `test_law_08_10_…` holds two.
"""

import ast
import re
import sys
import textwrap
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
TITLES = {
    1: "Only the flip changes the live release",
    2: "A process stays on the release that it was started on",
    3: "What goes live was tested, and what a person changed meanwhile stops the run",
    4: "A failure after the flip goes back by itself, once",
    5: "Rollback is quick, needs nothing, and goes only to a release that was good",
    6: "After a rollback, updates skip what it removed",
    7: "Prune never removes a release that is needed; order is by the record",
    8: "After a kill, a power cut or a full disk, the next command finishes or undoes",
    9: "Nothing that a person or a crash leaves wedges a site",
    10: "The second of two runs ends with 8, and no child outlives its run",
    11: "A Python that was replaced or removed is named, and everything is built again",
    12: "A full disk is named, with what is missing",
    13: "A move of the checkout overwrites and deletes nothing untracked",
    14: "Uncommitted work, other branches, hooks and a detached HEAD stay",
    15: "Pull and push go to the branch's upstream; commits of people stay",
    16: "A remote that was rewritten is not followed",
    17: "Two hosts on one remote live in peace",
    18: "Tests and builds touch no live data",
    19: "An edited or replaced .venv is reported, never overruled; no package leaves without a word",
    20: "Nothing stops silently",
    21: "Updated means live, restarted and healthy",
    22: "Blame is true: a culprit fails twice with it and passes twice without it, and the live release is asked first",
    23: "What is on hold or blocked is named with its reason; nothing is lowered silently",
    24: "Tests that did not run, or did not end, are not a pass; killed once is no verdict",
    25: "No vulnerability is known only if the service answered for every package; a fix passes the age limit",
    26: "Each news is one mail, to the right people, and none is lost",
    27: "A quiet night prints and sends nothing",
    28: "A refusal says what happened, what is live, and what to do",
    29: "Secrets appear nowhere",
    30: "State is for its owner",
    31: "Root runs a site of another user as that user, and reads what it prints with a limit",
    32: "A bundle is verified before it is used; what changed without a version is refused",
    33: "git never asks, and a person's configuration changes no answer",
    34: "A pushed commit cannot make releaser write elsewhere",
    35: "It works in the environments that people have",
    36: "It works with the versions of Python, uv and git that hosts have",
    37: "A dry run, check, status and update decide by the same code",
    38: "A package is name, version and source",
    39: "A release is compared with what was sealed",
    40: "A complaint of uv about its configuration, or a lock that does not fit, is an error",
    41: "A gate asks with the service's own environment",
    42: "No run waits without a limit, and a signal ends it in seconds",
}
#: Words that the names of a law's tests must have, besides its number.
REQUIRED = {
    24: ("without_tests", "killed", "timed_out", "its_end"),
    35: ("cron", "odd_names", "symlink", "subdirectory"),
}


def tests_by_law() -> dict[int, list[str]]:
    """Return the tests of each law, as `path::name` without the law's prefix."""
    laws: dict[int, list[str]] = defaultdict(list)
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (match := re.match(r"test_law_((?:\d\d_)+)(.*)", node.name)):
                for number in match[1].rstrip("_").split("_"):
                    laws[int(number)].append(f"{file.relative_to(TESTS)}::{match[2]}")
    return laws


def missing(number: int, tests: list[str]) -> list[str]:
    """Return what a law lacks, in words."""
    if not tests:
        return ["no test"]
    words = REQUIRED.get(number, ())
    return [f"no test with {word!r} in its name" for word in words if not any(word in test for test in tests)]


def main() -> int:
    """Print the table."""
    laws, is_quiet, gaps = tests_by_law(), "--quiet" in sys.argv[1:], 0
    for number in sorted({*TITLES, *laws}):
        lacks = missing(number, laws[number])
        gaps += bool(lacks)
        if lacks or not is_quiet:
            print(f"{number:2}  {TITLES.get(number, '(a law of a later part)')}  [{len(laws[number])}]")
            for text in [*(f"MISSING: {lack}" for lack in lacks), *([] if is_quiet else laws[number])]:
                print(textwrap.indent(textwrap.fill(text, 116, subsequent_indent="  "), "    "))
    print(f"{len(TITLES)} laws, {sum(map(len, laws.values()))} tests, {gaps} laws without all that they need")
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())
