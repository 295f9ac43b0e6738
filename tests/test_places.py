"""The places at which tests end, stop or change releaser are there: a renaming shows here, and not in CI alone."""

import pkgutil
import re
from pathlib import Path

PLACE = re.compile(r'"(releaser\.[\w.]+:[\w.]+)"')
TESTS = Path(__file__).parent


def is_there(place: str) -> bool:
    try:
        pkgutil.resolve_name(place)
    except (ImportError, AttributeError):
        return False
    return True


def test_every_place_that_a_test_names_is_there() -> None:
    named = {place for path in TESTS.rglob("*.py") for place in PLACE.findall(path.read_text(encoding="utf-8"))}
    assert len(named) > 20
    assert sorted(place for place in named if not is_there(place)) == []
