"""What `make measure` prints: how easy the code is to find one's way in, beside what it is to be.

Each figure has an aim. Next to it stands the best that was reached so far (`reached` in AIMS): no figure may get worse
than that, or than its aim once that is met. Write a better figure down here when you reach it.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.sites import SiteFactory  # noqa: E402
from tests.support.templates import Templates  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = ROOT / "releaser"
# Runs `releaser` and notes each call of a function of the package: its place, and the module that called it. What makes
# and compares values is left out, as if it were compiled by `dataclass`: nobody reads it on the way.
PROFILE = """\
import json, sys

package, place = sys.argv.pop(), sys.argv.pop()
functions, modules, crossings, calls = set(), set(), 0, 0

def note(frame, event, _):
    global crossings, calls
    if event != "call":
        return
    code = frame.f_code
    file = code.co_filename
    if not file.startswith(package) or file == package + "system/frozen.py":
        return
    if code.co_name.startswith("<") or "__module__" in code.co_names[:2]:
        return
    calls += 1
    functions.add((file, code.co_qualname))
    modules.add(file)
    caller = frame.f_back.f_code.co_filename if frame.f_back else ""
    crossings += caller.startswith(package) and caller != file

sys.argv[0] = "releaser"
from releaser.__main__ import main
sys.setprofile(note)
try:
    main()
finally:
    sys.setprofile(None)
    with open(place, "w") as found:
        json.dump({"modules": len(modules), "functions": len(functions), "calls": calls, "crossings": crossings}, found)
"""


@dataclass(frozen=True, kw_only=True)
class Aim:
    """One figure: what it counts, what it is to be at most, and the best that was reached."""

    what: str
    to_be: int
    reached: int


AIMS = {
    "lines": Aim(what="lines in releaser/", to_be=14_500, reached=41_912),
    "modules": Aim(what="modules in releaser/", to_be=95, reached=197),
    "take_run": Aim(what="functions that take the whole Run", to_be=30, reached=26),
    "draft": Aim(what="places that write to a shared draft", to_be=0, reached=0),
    "edited": Aim(what="errors that are edited after they were raised", to_be=0, reached=0),
    "update": Aim(what="lines of the function that updates", to_be=40, reached=40),
    "entered": Aim(what="modules that one green update enters", to_be=45, reached=118),
    "functions": Aim(what="functions that it enters", to_be=350, reached=977),
    "crossings": Aim(what="calls from one module to another in it", to_be=800, reached=1_903),
    "tests": Aim(what="lines in tests/", to_be=27_000, reached=54_641),
}


def texts(directory: Path) -> dict[Path, str]:
    """Return the Python below a directory."""
    return {path: path.read_text(encoding="utf-8") for path in sorted(directory.rglob("*.py"))}


def functions_in(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Yield the functions and methods of a module."""
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def takes_run(function: ast.FunctionDef) -> bool:
    """Whether a function has a parameter that is a Run."""
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return any(isinstance(one.annotation, ast.Name) and one.annotation.id == "Run" for one in arguments)


def edited_errors(tree: ast.AST) -> int:
    """Count assignments to an attribute of an error that was caught, or made and not raised yet."""
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            flat = [one for target in targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]
            count += any(
                isinstance(one, ast.Attribute)
                and isinstance(one.value, ast.Name)
                and one.value.id in ("error", "failure")
                for one in flat
            )
    return count


def read_code() -> dict[str, int]:
    """Count what can be read off the text."""
    code = texts(PACKAGE)
    trees = [ast.parse(text) for text in code.values()]
    updates = [
        (function.end_lineno or 0) - function.lineno + 1
        for path, text in code.items()
        if path.name == "update.py"
        for function in functions_in(ast.parse(text))
        if function.name in ("update", "update_site")
    ]
    writes = re.compile(
        r"draft\.\w+(?:, [\w.]+)* (?:=|\+=|\|=)[^=]|draft\.\w+(?:\[[^\]]*\])?(?:\.(?:append|extend|insert)\(| [+|]?= )"
    )
    return {
        "lines": sum(text.count("\n") for text in code.values()),
        "modules": len(code),
        "take_run": sum(takes_run(one) for tree in trees for one in functions_in(tree)),
        "draft": sum(len(writes.findall(text)) for text in code.values()),
        "edited": sum(map(edited_errors, trees)),
        "update": max(updates, default=0),
        "tests": sum(text.count("\n") for text in texts(ROOT / "tests").values()),
    }


def play_update() -> dict[str, int]:
    """Count what one green update of one package enters, on a small site."""
    with tempfile.TemporaryDirectory(prefix="releaser-measure-") as name:
        place = Path(name)
        site = SiteFactory(place, Templates(place / "templates", place / "uv-cache"))(venv=True)
        site.releaser("init", check=0)
        site.publish("alpha", "1.1.0")
        words = ["update", "--project", str(site.path), str(place / "found"), f"{PACKAGE}/"]
        done = subprocess.run(
            [sys.executable, "-c", PROFILE, *words],
            cwd=place,
            env=site.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"the update that is measured failed:\n{done.stderr}")
        found = json.loads((place / "found").read_text())
    return {"entered": found["modules"], "functions": found["functions"], "crossings": found["crossings"]}


def main() -> int:
    """Print the figures, and return 1 if one of them has got worse."""
    figures = {**read_code(), **play_update()}
    worse = []
    print(f"{'':50}{'now':>8}{'to be':>8}{'best':>8}")
    for name, aim in AIMS.items():
        now = figures[name]
        is_worse = now > max(aim.to_be, aim.reached)
        worse += [aim.what] * is_worse
        state = "worse" if is_worse else "met" if now <= aim.to_be else ""
        print(f"{aim.what:50}{now:>8}{aim.to_be:>8}{aim.reached:>8}  {state}".rstrip())
    if worse:
        print(f"\nworse than it was: {', '.join(worse)}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
