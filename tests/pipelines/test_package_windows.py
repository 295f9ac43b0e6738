"""When updates begin, and which packages wait in them, if packages have their own windows."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.core.due import OnlyFixes, find_package_waits
from releaser.core.gate import Case
from releaser.core.status import Remark
from releaser.gates.package_windows import PackageWindows
from releaser.locks.blocks import PackageWait, PackageWaits
from releaser.locks.changes import changes_between
from releaser.pipelines import due
from releaser.pipelines.due import Timing, _list_waits
from releaser.pipelines.package_status import PackageStatus
from releaser.releases.pause import PAUSE, Pause
from releaser.site.package_windows import OpenPackages, find_open, tables_by_package
from releaser.site.site import Site, open_site
from releaser.site.windows import windows
from releaser.system.files import write_state
from tests.site.fakes import with_settings

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
SOON = NOW + timedelta(hours=2)
TESTS_ONLY = frozenset({"tests_only"})
MIXED = '{"own-*" = {window = []}, "django" = {publish = "branch"}, "d*" = {window = "%s"}}'


def window(first: float, last: float) -> str:
    """Return a window from now, in hours."""
    local = NOW.astimezone().replace(tzinfo=None)
    return f"{local + timedelta(hours=first):%H:%M}-{local + timedelta(hours=last):%H:%M}"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site whose window is closed; the window of its own packages is open, the one of others is not."""
    root = tmp_path / "outer" / "site"
    root.mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "site"\n', encoding="utf-8")
    site = open_site(root, {})
    site.state_dir.mkdir(parents=True)
    return with_settings(site, window=windows(window(2, 3)), packages=tables_by_package(MIXED % window(5, 6)))


def waiting(waits: tuple[PackageWait, ...]) -> dict[str, str]:
    """Return the packages that wait, each with the hours until its window opens, or with the reason."""
    hours = ((one, one.until and round((one.until - NOW) / timedelta(hours=1))) for one in waits if one.reason)
    return {one.packages: f"{one.by} {until or ''}".strip() for one, until in hours}


def test_for_each_pattern_its_own_window_or_that_of_the_site_counts(site: Site) -> None:
    later = {"django": "publish", "d*": "window 5", "*": "window 2"}
    assert waiting(find_package_waits(site, NOW)) == later
    assert waiting(find_package_waits(site, SOON)) == {"django": "publish", "d*": "window 5"}
    assert waiting(find_package_waits(with_settings(site, window=()), NOW)) == {"django": "publish", "d*": "window 5"}
    assert waiting(find_package_waits(site, NOW, regardless=True)) == {"django": "publish"}
    assert find_package_waits(with_settings(site, packages=()), NOW) == ()
    assert find_open(site, NOW) == ("own-*",)
    assert find_open(site, NOW + timedelta(hours=5)) == ("own-*", "d*")


@pytest.mark.parametrize(
    ("timing", "waits"),
    [
        (Timing(), {"django": "publish", "d*": "window 5", "*": "window 2"}),
        (Timing(by_rules=False, named=True), {"django": "publish", "d*": "window 5", "*": "window 2"}),
        (Timing(now=True), {"django": "publish"}),
        (Timing(now=True, by_rules=False, named=True), {}),
        (Timing(limits=TESTS_ONLY), {"django": "publish", "d*": "window 5"}),  # as in the window in which it goes live
    ],
)
def test_which_packages_wait_in_which_update(site: Site, timing: Timing, waits: dict[str, str]) -> None:
    (found,) = _list_waits(site, timing) or (PackageWaits(),)
    assert isinstance(found, PackageWaits)
    assert waiting(found.package_waits) == waits


START = "an update waits for the maintenance window, which opens "


@pytest.mark.parametrize(
    ("given", "settings", "starts"),
    [
        ({}, {}, "limited"),
        ({"by_rules": False, "named": True}, {}, "limited"),
        ({"by_rules": False}, {}, ""),  # a channel
        ({"limits": TESTS_ONLY}, {}, "whole"),
        ({"limits": frozenset({"only_security"})}, {}, ""),
        ({}, {"packages": ()}, ""),
        ({}, {"packages": tables_by_package({"own-*": {"publish": "live"}})}, ""),
        ({}, {"packages": tables_by_package({"own-*": {"window": window(5, 6)}})}, ""),
        ({}, {"window": windows(window(-1, 1))}, "whole"),
        ({}, {"window": ()}, "whole"),
        ({}, {"upgrade": "none"}, ""),
        ({}, {"upgrade": "security"}, ""),
    ],
)
def test_outside_the_window_of_the_site_an_update_starts_for_packages_whose_window_is_open(
    site: Site, given: dict[str, Any], settings: dict[str, Any], starts: str
) -> None:
    site = with_settings(site, **settings)
    found = due.find_due(site, if_due=False, **given)
    assert found.reason.startswith(START) is (starts == "")
    assert found.anyway == (
        (OpenPackages(only_open_packages=True),) if starts == "limited" or given == {"by_rules": False} else ()
    )


def test_a_pause_comes_first(site: Site) -> None:
    write_state(site.state_dir / PAUSE, Pause(until=SOON))
    assert due.find_due(site, if_due=False).reason.startswith("updates are paused")
    write_state(site.state_dir / PAUSE, Pause(until=SOON, except_security=True))
    found = due.find_due(site, if_due=False)
    assert (found.reason[: len(START)], found.anyway) == (START, (OnlyFixes(only_security=True),))


@pytest.mark.parametrize(
    ("moved", "is_down", "waits"),
    [
        ({"beta": ("1", "2")}, False, ["beta"]),
        ({"beta": ("1", "2"), "alpha": ("1", "2")}, False, ["beta"]),
        ({"beta": ("1", "2"), "delta": ("1", "2")}, False, ["beta", "delta"]),
        ({"beta": ("1", "2")}, True, []),
        ({"gamma": ("1", "2")}, False, []),  # it had a review
        ({"alpha": ("1", "2")}, False, []),
        ({"beta": ("", "2")}, False, []),  # the code needs it
        ({"beta": ("1", "")}, False, []),
    ],
)
def test_a_release_waits_for_the_last_window_of_its_packages(
    moved: dict[str, tuple[str, str]], is_down: bool, waits: list[str]
) -> None:
    known = (
        PackageWait(packages="alpha"),
        PackageWait(packages="gamma", reason="review", by="publish"),
        PackageWait(packages="delta", reason="closed", until=SOON),
        PackageWait(packages="*", reason="closed", until=NOW),
    )
    old, new = ({name: pair[side] for name, pair in moved.items() if pair[side]} for side in (0, 1))
    log = SimpleNamespace(sections={PackageWaits: PackageWaits(package_waits=known)})
    work: Any = SimpleNamespace(log=log)
    case = Case(work=work, lock=None, changes=changes_between(old, new), is_down=is_down)  # type: ignore[arg-type]
    found: Any = PackageWindows().judge(case)
    if not waits:
        assert found is None
        return
    assert found.until == (SOON if "delta" in waits else NOW)
    assert f"`releaser update --now {' '.join(waits)}`" in found.reason


def test_the_status_names_each_reason_once_with_a_command(site: Site) -> None:
    waits = find_package_waits(site, NOW)
    shown = [one.text for one in PackageStatus(package_waits=waits).show() if isinstance(one, Remark)]
    assert [one.partition(":")[0] for one in shown] == [
        "packages django wait",
        "packages d* wait",
        "all other packages wait",
    ]
    assert all(one.endswith("; to update one now: `releaser update --now NAME`") for one in shown)
    assert not [*PackageStatus().show()]
