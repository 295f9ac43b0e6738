"""What `make measure` prints: how much of the core knows features, and how much a reader has to take in.

Each figure has an aim, and the best that was reached so far: `scripts/measured.json`. No figure may get worse than
that, or than its aim once that is met. `--write` notes better figures there. Which module belongs to the core or to a
feature, and by which names a feature is known, is in `scripts/house.toml`.
"""

from __future__ import annotations

import ast
import io
import json
import re
import statistics
import subprocess
import sys
import tempfile
import tokenize
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.sites import SiteFactory  # noqa: E402
from tests.support.templates import Templates  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from tests.support.sites import SampleSite

PACKAGE = ROOT / "releaser"
BEST = ROOT / "scripts" / "measured.json"
HOUSE = tomllib.loads((ROOT / "scripts" / "house.toml").read_text(encoding="utf-8"))
EXTENSIONS = ("restart", "source", "gate", "action", "reporter", "rule")
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
BRANCHES = (
    ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.BoolOp, ast.comprehension, ast.match_case, ast.Assert,
)  # fmt: skip
# Runs `releaser`, and notes each call of one of its functions: the function, the module that it was called from, what
# read a state file, and which programs were started. What makes and compares values is left out, as nobody reads it.
PROFILE = """\
import json, subprocess, sys

readers, package, place = json.loads(sys.argv.pop()), sys.argv.pop(), sys.argv.pop()
functions, modules, counts = set(), set(), {"crossings": 0, "state_reads": 0, "programs": 0}

def note(frame, event, _):
    if event != "call":
        return
    code = frame.f_code
    file = code.co_filename
    if code.co_name == "__init__" and code is started:
        counts["programs"] += 1
    if not file.startswith(package) or file == package + "system/frozen.py":
        return
    counts["state_reads"] += code.co_name in readers
    if code.co_name.startswith("<") or "__module__" in code.co_names[:2]:
        return
    functions.add((file, code.co_qualname))
    modules.add(file)
    caller = frame.f_back.f_code.co_filename if frame.f_back else ""
    counts["crossings"] += caller.startswith(package) and caller != file

started = subprocess.Popen.__init__.__code__
sys.argv[0] = "releaser"
from releaser.__main__ import main
sys.setprofile(note)
try:
    main()
finally:
    sys.setprofile(None)
    with open(place, "w") as found:
        json.dump({"modules": len(modules), "functions": len(functions), **counts}, found)
"""


@dataclass(frozen=True, kw_only=True)
class Aim:
    """One figure: what it counts, and what it is to be: at most, or at least if `rises`.

    It may be `loose`: by this part above the best, as what is entered depends a little on the machine.
    """

    what: str
    to_be: int
    rises: bool = False
    loose: float = 0.0

    def is_met(self, value: int) -> bool:
        """Whether a value is what it is to be."""
        return value >= self.to_be if self.rises else value <= self.to_be

    def is_worse(self, value: int, best: int) -> bool:
        """Whether a value is neither as good as the best one nor as the aim."""
        return not self.is_met(value) and (value < best if self.rises else value > best * (1 + self.loose))


AIMS = {
    "core_imports": Aim(what="M1 features that modules of the core import", to_be=0),
    "feature_imports": Aim(what="   features that modules of others import", to_be=10),
    "extensions": Aim(what="M2 toys that need no change of the package, of 6", to_be=6, rises=True),
    "conditions": Aim(what="M3 conditions on features", to_be=60),
    "leaks": Aim(what="   of these outside of the feature", to_be=15),
    "settings_read": Aim(what="M4 pairs of a module and a setting that it reads", to_be=120),
    "tokens": Aim(what="M5 tokens", to_be=190_000),
    "branches": Aim(what="   branches", to_be=5_500),
    "functions": Aim(what="M6 functions that one green update enters", to_be=450, loose=0.03),
    "crossings": Aim(what="   calls from one module to another in it", to_be=800, loose=0.03),
    "state_reads": Aim(what="   state files that it reads", to_be=25, loose=0.03),
    "programs": Aim(what="   programs that it starts", to_be=22, loose=0.04),
    "journal_fields": Aim(what="M7 fields of a journal entry", to_be=6),
    "manifest_fields": Aim(what="   of a manifest", to_be=14),
    "report_fields": Aim(what="   of a report", to_be=18),
    "rules_fields": Aim(what="   of the rules for versions", to_be=6),
    "modules_per_setting": Aim(what="M8 modules that a commit with a new setting touches", to_be=3),
}
CLASSES = {
    "journal_fields": ("releases/journal.py", "Entry"),
    "manifest_fields": ("releases/release.py", "Manifest"),
    "report_fields": ("report.py", "RunReport"),
    "rules_fields": ("locks/rules.py", "Rules"),
}


class House:
    """The modules of the package, by path without suffix, and which feature owns which."""

    def __init__(self) -> None:
        paths = {str(path.relative_to(PACKAGE))[:-3]: path for path in sorted(PACKAGE.rglob("*.py"))}
        self.texts = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
        self.trees = {name: ast.parse(text) for name, text in self.texts.items()}
        self.core = set(HOUSE["core"])
        self.features: Mapping[str, Mapping[str, Any]] = HOUSE["features"]
        owned = (one for feature in self.features.values() for one in feature["modules"])
        if gone := [one for one in (*self.core, *owned) if not list(self._below(one))]:
            sys.exit(f"scripts/house.toml names modules that are not there: {', '.join(gone)}")
        self.owner = {
            module: name
            for name, feature in self.features.items()
            for place in feature["modules"]
            for module in self._below(place)
        }

    def is_of_capability(self, name: str) -> bool:
        """Whether a module belongs to a feature that a core could be without."""
        return name in self.owner and self.features[self.owner[name]].get("is_capability", True)

    def _below(self, place: str) -> Iterator[str]:
        yield from (name for name in self.texts if name == place or name.startswith(f"{place}/"))

    def imports(self, name: str) -> set[str]:
        """Return the modules of the package that a module imports, wherever in it."""
        found = set[str | None]()
        for node in ast.walk(self.trees[name]):
            if isinstance(node, ast.Import):
                found |= {self._module(alias.name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {self._module(f"{node.module}.{alias.name}") for alias in node.names}
        return {one for one in found if one not in (None, name)}

    def _module(self, dotted: str) -> str | None:
        parts = dotted.split(".")
        if parts[0] != "releaser":
            return None
        for end in range(len(parts), 1, -1):
            name = "/".join(parts[1:end])
            if name in self.texts or f"{name}/__init__" in self.texts:
                return name if name in self.texts else f"{name}/__init__"
        return None

    def count_imports(self) -> dict[str, int]:
        """Count which features each module of the core imports, and which others each module of a feature does."""
        core = features = 0
        for name in self.texts:
            owners = {self.owner[one] for one in self.imports(name) if self.is_of_capability(one)}
            if name in self.core:
                core += len(owners)
            elif name in self.owner:
                features += sum(one != self.owner[name] for one in owners)
        return {"core_imports": core, "feature_imports": features}

    def count_conditions(self) -> dict[str, int]:
        """Count the conditions that name a feature, once for each feature, and those in modules of others."""
        total = leaks = 0
        for name, tree in self.trees.items():
            for condition in conditions(tree):
                for feature, facts in self.features.items():
                    if names(condition, facts):
                        total += 1
                        leaks += self.owner.get(name) != feature
        return {"conditions": total, "leaks": leaks}

    def count_settings(self) -> int:
        """Count the settings that each module reads, apart from those that it declares itself."""
        owners = {name: module for module, tree in self.trees.items() for name in declared_settings(tree)}
        pairs = 0
        for name, tree in self.trees.items():
            held = names_of_settings(tree)
            attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
            read = {one.attr for one in attributes if one.attr in owners and is_settings(one.value, held)}
            pairs += sum(owners[one] != name for one in read)
        return pairs

    def count_text(self) -> dict[str, int]:
        """Count branches, and tokens, which later Pythons count otherwise in strings with fields."""
        branches = sum(isinstance(node, BRANCHES) for tree in self.trees.values() for node in ast.walk(tree))
        if sys.version_info[:2] != (3, 11):
            return {"branches": branches}
        tokens = 0
        for text in self.texts.values():
            found = tokenize.generate_tokens(io.StringIO(text).readline)
            tokens += sum(one.type not in NO_CODE for one in found)
        return {"tokens": tokens, "branches": branches}

    def count_fields(self) -> dict[str, int]:
        """Count the fields of the largest values."""
        return {key: len(fields(self.trees[path[:-3]], name)) for key, (path, name) in CLASSES.items()}


def conditions(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield what a module decides by: tests, filters, subjects of `match`, and values of `and` and `or`."""
    seen = set[int]()
    for node in ast.walk(tree):  # which comes to an expression before it comes to its parts
        found: Iterable[ast.expr] = ()
        if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
            found = (node.test,)
        elif isinstance(node, ast.comprehension):
            found = node.ifs
        elif isinstance(node, ast.Match):
            found = (node.subject,)
        elif isinstance(node, ast.BoolOp) and id(node) not in seen:
            found = (node,)
        for one in found:
            seen |= {id(part) for part in ast.walk(one)}
            yield one


def names(condition: ast.expr, feature: Mapping[str, list[str]]) -> bool:
    """Whether a condition names a feature; with `of`, only as an attribute of one of these."""
    of = feature.get("of")
    for node in ast.walk(condition):
        if isinstance(node, ast.Attribute) and node.attr in feature["names"]:
            if of is None or last_name(node.value) in of or ("settings" in of and is_of_a_class(node.value)):
                return True
        elif isinstance(node, ast.Name) and of is None and node.id in feature["names"]:
            return True
    return False


def is_of_a_class(node: ast.expr) -> bool:
    """Whether an expression reads the settings of a capability: `Class.of(...)`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "of"


def last_name(node: ast.expr) -> str:
    """Return the last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def declared_settings(tree: ast.AST) -> set[str]:
    """Return the settings that a module declares: in the class `Settings`, and in what a capability adds to that."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found = [one for one in classes if one.name == "Settings" or any(last_name(base) == "Part" for base in one.bases)]
    return {name for one in found for name in fields(tree, one.name)}


def names_of_settings(tree: ast.AST) -> set[str]:
    """Return by which names a module knows settings, beside the usual ones: what it assigns `X.of(settings)` to."""
    found = set[str]()
    for node in ast.walk(tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.NamedExpr) else []
        )
        for target in targets:
            pairs = [(target, getattr(node, "value", None))]
            if isinstance(target, ast.Tuple) and isinstance(pairs[0][1], ast.Tuple):
                pairs = list(zip(target.elts, pairs[0][1].elts, strict=False))
            found |= {last_name(one) for one, value in pairs if is_part(value)}
    return found


def is_part(node: ast.AST | None) -> bool:
    """Whether an expression is the settings of a capability: `X.of(settings)`."""
    match node:
        case ast.Call(func=ast.Attribute(attr="of", value=value)):
            return last_name(value).endswith("Settings")
    return False


def is_settings(node: ast.expr, held: Collection[str]) -> bool:
    """Whether an expression is settings, by its name or by what it calls."""
    return last_name(node) in ("settings", "_settings", *held) or is_part(node)


def fields(tree: ast.AST, name: str) -> set[str]:
    """Return the names of the fields of a class, with those of its bases in the same module."""
    classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    if name not in classes:
        sys.exit(f"there is no class {name}")
    node = classes[name]
    own = {one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)}
    return own.union(
        *(fields(tree, base.id) for base in node.bases if isinstance(base, ast.Name) and base.id in classes)
    )


def count_extensions() -> int:
    """Count the kinds of extension that have a toy, each a file of its own that a test runs."""
    return sum((ROOT / "tests" / "extension" / f"toy_{kind}.py").exists() for kind in EXTENSIONS)


def modules_per_setting(*, most: int = 10) -> int | None:
    """Return how many modules the last commits that brought a setting touched (median); None without the history."""
    log = ["git", "log", "--format=%H", "--", "releaser"]
    commits = subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    counts: list[int] = []
    for commit in commits:
        changed = ["git", "show", "--format=", "--unified=0", commit, "--", "releaser"]
        text = subprocess.run(changed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        if settings_in(text, "+") - settings_in(text, "-"):
            counts.append(len(set(re.findall(r"^\+\+\+ b/releaser/(\S+\.py)$", text, re.MULTILINE))))
        if len(counts) == most:
            break
    return round(statistics.median(counts)) if counts else None


def settings_in(diff: str, sign: str) -> set[str]:
    """Return the settings that a diff adds or takes away: fields of the files that declare settings."""
    files = re.split(r"^diff --git ", diff, flags=re.MULTILINE)
    declaring = "".join(one for one in files if re.match(r"\S*settings\.py ", one))
    return {
        *re.findall(rf"^\{sign}    (\w+): .*= _?setting\(", diff, re.MULTILINE),
        *re.findall(rf"^\{sign}    (\w+): [^=\n]+ = ", declaring, re.MULTILINE),
    }


def play_update() -> dict[str, int]:
    """Count what one green update of one package enters, on a small site."""
    with tempfile.TemporaryDirectory(prefix="releaser-measure-") as name:
        place = Path(name)
        site = SiteFactory(place, Templates(place / "templates", place / "uv-cache"))(venv=True)
        site.releaser("init", check=0)
        site.publish("alpha", "1.1.0")
        found = profile_update(site, place / "found")
    return {key: found[key] for key in ("functions", "crossings", "state_reads", "programs")}


def profile_update(site: SampleSite, place: Path) -> dict[str, int]:
    """Count what an update of a site enters, and the programs that it starts; `place` is a file for the counts."""
    words = ["update", "--project", str(site.path), str(place), f"{PACKAGE}/", json.dumps(HOUSE["state_readers"])]
    done = subprocess.run(
        [sys.executable, "-c", PROFILE, *words], cwd=place.parent, env=site.env, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"the update that is measured failed:\n{done.stderr}")
    return dict(json.loads(place.read_text()))


def measure() -> dict[str, int]:
    """Return all figures, by the names of AIMS; one is left out where it cannot be told."""
    house, per_setting = House(), modules_per_setting()
    return {
        **house.count_imports(),
        "extensions": count_extensions(),
        **house.count_conditions(),
        "settings_read": house.count_settings(),
        **house.count_text(),
        **play_update(),
        **house.count_fields(),
        **({} if per_setting is None else {"modules_per_setting": per_setting}),
    }


def show(figures: Mapping[str, int], best: Mapping[str, int]) -> list[str]:
    """Print the table; return what has got worse."""
    worse = []
    print(f"{'':52}{'now':>9}{'to be':>9}{'best':>9}")
    for name, aim in AIMS.items():
        if (now := figures.get(name)) is None:
            print(f"{aim.what:52}{'unknown':>9}{aim.to_be:>9}{best[name]:>9}")
            continue
        is_worse = aim.is_worse(now, best[name])
        worse += [aim.what.removeprefix("M").strip("0123456789 ")] * is_worse
        state = "  worse" if is_worse else "  met" if aim.is_met(now) else ""
        print(f"{aim.what:52}{now:>9}{aim.to_be:>9}{best[name]:>9}{state}")
    return worse


def note_best(figures: Mapping[str, int], best: Mapping[str, int]) -> None:
    """Write down what is better than the best so far."""
    better: dict[str, Any] = {
        name: (max if aim.rises else min)(best.get(name, figures[name]), figures[name])
        if name in figures
        else best[name]
        for name, aim in AIMS.items()
    }
    BEST.write_text(f"{json.dumps(better, indent=2)}\n", encoding="utf-8")


def main() -> int:
    """Print the figures, and return 1 if one of them has got worse."""
    best: dict[str, int] = json.loads(BEST.read_text(encoding="utf-8")) if BEST.exists() else {}
    figures = measure()
    if "--write" in sys.argv[1:]:
        note_best(figures, best)
        best = json.loads(BEST.read_text(encoding="utf-8"))
    if worse := show(figures, best):
        print(f"\nworse than it was: {', '.join(worse)}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
