"""Fixtures for all tests."""

import gc
import os
import signal
from collections.abc import Generator
from pathlib import Path
from zlib import crc32

import pytest

from tests.support.sites import SiteFactory
from tests.support.templates import Templates
from tests.support.wheels import LocalIndex

ATTACKS = Path(__file__).parent / "attacks"
# Minutes each; each worker begins with one, as who comes to one of them last works on alone.
LONGEST = ("test_fleet.py", "test_web_servers.py", "test_dist.py", "test_sequences.py", "test_kill_first_lock.py")
END_TO_END = (Path(__file__).parent / "e2e", ATTACKS)

pytest_plugins = [
    "tests.support.smtp",
    "tests.support.guards",
    "tests.support.everybodys",
    "tests.support.real_django",
    "tests.faults.tally",
    "tests.faults.scenes",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the golden file of nights be written, and end-to-end tests take turns."""
    parser.addoption("--write-nights", action="store_true", help="rewrite tests/e2e/nights.txt")
    parser.addoption("--turn", help="of the slow end-to-end tests, only those of this turn, such as 1/2")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Mark what is slow, leave out what is not to be run, and let each worker begin with what takes longest."""
    _mark_and_choose(config, items)
    yield  # `-m` and `-k` leave out more
    items[:] = longest_first(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def longest_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Put each of the longest modules at the beginning of the part of a worker; each gets as many tests in a row."""
    ordered = [item for item in items if item.path.name not in LONGEST]
    for number, name in enumerate(LONGEST):
        place = number % workers * len(items) // workers
        while 0 < place < len(ordered) and ordered[place - 1].path == ordered[place].path:
            place += 1  # no module is torn apart
        ordered[place:place] = [item for item in items if item.path.name == name]
    return ordered


def _mark_and_choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is slow; unless `--all-points` is given, try a spread of each table, and nothing exhaustive."""
    for item in items:
        if any(map(item.path.is_relative_to, END_TO_END)) and item.get_closest_marker("story") is None:
            item.add_marker(pytest.mark.slow)
        if item.path.is_relative_to(ATTACKS):
            item.add_marker(pytest.mark.attack)
    if config.getoption("--all-points"):
        return
    tables: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("spread") is not None:
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = of_other_turns(items, config.getoption("--turn"))
    left_out |= {item for table in tables.values() for item in _left_out(table)}
    left_out |= {item for item in items if item.get_closest_marker("exhaustive") is not None}
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]


def of_other_turns(items: list[pytest.Item], turn: str | None) -> set[pytest.Item]:
    """Return the slow end-to-end tests of other turns; a test is always in the same one, with all of its table."""
    if turn is None:
        return set()
    number, count = map(int, turn.split("/"))
    tests = [item for item in items if item.path.is_relative_to(END_TO_END[0]) and item.get_closest_marker("slow")]
    return {one for one in tests if crc32(one.nodeid.partition("[")[0].encode()) % count != number % count}


def _left_out(table: list[pytest.Item]) -> set[pytest.Item]:
    """Return what is not in the spread of a table, which has its first and its last entry."""
    marker = table[0].get_closest_marker("spread")
    few = marker.args[0] if marker is not None else len(table)
    if few >= len(table):
        return set()
    chosen = {round(number * (len(table) - 1) / max(1, few - 1)) for number in range(few)}
    return {item for number, item in enumerate(table) if number not in chosen}


def pytest_configure() -> None:
    """Let programs that tests start be interruptible, also where who started pytest ignores Ctrl-C, or a hang-up."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage in thousands of tests, neither while they are collected nor later: a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def uv_cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uv's cache; the workers of pytest-xdist share one."""
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if hasattr(request.config, "workerinput") else base) / "uv-cache"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory, uv_cache: Path) -> Templates:
    """What sites are copied from."""
    return Templates(tmp_path_factory.mktemp("templates"), uv_cache)


@pytest.fixture
def index(tmp_path: Path) -> LocalIndex:
    """An empty index of wheels; a site has its own, `site.index`."""
    return LocalIndex(tmp_path / "index")


@pytest.fixture
def make_site(tmp_path: Path, templates: Templates) -> SiteFactory:
    """Makes sites: `make_site("shop", kind="packaged", packages={"alpha": "1.0.0"}, venv=True)`."""
    return SiteFactory(tmp_path, templates)


@pytest.fixture(scope="module")
def make_scene(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> SiteFactory:
    """Makes sites, as `make_site` does, that all tests of a module look at and that none of them changes."""
    return SiteFactory(tmp_path_factory.mktemp("scene"), templates)
