"""A setting is read in the package that declares it, and in no further package than it is."""

import ast
import tomllib
from collections import defaultdict
from pathlib import Path

import releaser
from releaser.site.settings import PARTS

PACKAGE = Path(releaser.__file__).parent
HOUSE = tomllib.loads((PACKAGE.parent / "scripts" / "house.toml").read_text(encoding="utf-8"))


def find_readers() -> dict[str, list[str]]:
    """Return, for each class of settings, the other packages with a `CLASS.of(...)`."""
    owners = {part.__name__: part.__module__.split(".")[1] for part in PARTS}
    found = defaultdict[str, set[str]](set)
    for path in PACKAGE.rglob("*.py"):
        package = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Attribute(attr="of", value=ast.Name(id=name)) if owners.get(name, package) != package:
                    found[name].add(package)
    return {name: sorted(packages) for name, packages in sorted(found.items())}


def test_no_further_package_reads_the_settings_of_a_capability() -> None:
    """If a package is missing in the list, ask the class a question instead; one that reads none is to be removed."""
    assert HOUSE["readers"] == find_readers()
