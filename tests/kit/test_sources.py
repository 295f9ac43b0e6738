"""Every source places its lock in the staging tree, changes nothing of the site, and comes to an end after failures."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from releaser import sources
from releaser.core.run import Workspace
from releaser.core.source import Source, Wanted
from releaser.locks.lock import LockFile
from releaser.locks.overrides import parse_overrides
from releaser.pipelines.dry_run import plan_workspace
from releaser.releases.blocks import StoredBlock, read_blocks
from releaser.releases.release import lock_of
from releaser.site.site import find_site
from releaser.sources.locked import Locked
from releaser.sources.override import Overridden
from tests.e2e.scenes import outer_snapshot
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import build_wheel

pytestmark = pytest.mark.slow

AT = "2026-11-20T00:00:00+00:00"
OVERRIDE = "override"


@pytest.fixture(scope="module")
def site(make_scene: SiteFactory) -> Iterator[SampleSite]:
    """A site for which there is something new; nothing here changes it."""
    site = make_scene.adopted("1.1.0", due="1.2.0")
    before = outer_snapshot(site)
    yield site
    assert outer_snapshot(site) == before


@pytest.fixture
def work(site: SampleSite) -> Iterator[Workspace]:
    """A staging tree for the site, outside of it."""
    with plan_workspace(find_site(site.path, site.env), "update", force=False, follow=False) as (work, _):
        yield work


@pytest.fixture
def source(request: pytest.FixtureRequest, site: SampleSite) -> Source:
    if request.param != OVERRIDE:
        found: Source = request.param
        return found
    place = site.outer.parent / "wheels"
    place.mkdir(exist_ok=True)
    wheel = build_wheel(place, "alpha", "1.2.0.dev1")
    return Overridden(parse_overrides([f"alpha @ {wheel}"], place))


def name_of(source: Source | str) -> str:
    return source if isinstance(source, str) else type(source).__name__


ALL = [*sources.SOURCES, Locked(), OVERRIDE]


@pytest.mark.parametrize("source", ALL, ids=name_of, indirect=True)
def test_a_source_places_its_lock_in_the_staging_tree_and_changes_nothing_else(source: Source, work: Workspace) -> None:
    place = work.site.project.lock
    before = place.read_bytes()
    for rebuilds in (False, True):
        source.applies(work, rebuilds=rebuilds)
    assert place.read_bytes() == before, "nothing is resolved yet"
    wanted = Wanted(work=work)
    found = source.resolve(wanted)
    assert LockFile.read(place).versions == found.lock.versions
    changed = {one.name for one in found.diff}
    running = lock_of(work.live).versions
    assert changed == {name for name, version in found.lock.versions.items() if running.get(name) != version}
    source.refuse_unfit(wanted, found.lock)
    assert source.resolve(wanted).lock.versions == found.lock.versions, "each time the same"


@pytest.mark.parametrize("source", ALL, ids=name_of, indirect=True)
def test_a_search_after_a_failure_ends_with_what_is_live(source: Source, work: Workspace) -> None:
    found = source.resolve(Wanted(work=work))
    failed = [
        StoredBlock(name=one.name, version=one.new or "", by="tests", reason="they fail", since=AT)
        for one in found.diff
    ]
    again = source.search(Wanted(work=replace(work, blocks=read_blocks(work.site.state_dir).with_new(*failed))))
    if again is not None:  # else its lock is the only one
        rest = again("out")
        assert (rest.diff, LockFile.read(work.site.project.lock).versions) == ((), lock_of(work.live).versions)


@pytest.mark.parametrize("rebuilds", [False, True])
def test_a_run_always_has_a_source(work: Workspace, *, rebuilds: bool) -> None:
    assert sources.choose_source(work, rebuilds=rebuilds).applies(work, rebuilds=rebuilds)


def test_a_site_whose_settings_name_no_source_chooses_its_versions_and_publishes_them(work: Workspace) -> None:
    supply = work.site.supply
    assert (supply.upgrades, supply.publishes, supply.asks_others) == (True, True, True)
