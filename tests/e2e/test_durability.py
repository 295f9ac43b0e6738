"""What has to be on the disk before the next thing may be: the order of syncs and renames."""

from tests.e2e.recording import recorded
from tests.support.sites import SampleSite, SiteFactory


def expect_in_order(found: list[tuple[str, str]], wanted: list[tuple[str, str]]) -> None:
    """See that the wanted entries are found in this order, with whatever else between them."""
    left = iter(found)
    for one in wanted:
        assert one in left, f"{one} is missing, or comes too early, in\n" + "\n".join(map(str, found))


def adopted(make_site: SiteFactory) -> SampleSite:
    return make_site.adopted(due="1.1.0")


def test_each_step_of_an_update_is_durable_before_the_next(make_site: SiteFactory) -> None:
    site = adopted(make_site)
    found = recorded(site, "update")
    release, state, project = site.state_dir / "releases" / site.live_id(), site.state_dir, site.path
    expect_in_order(
        found,
        [
            ("rename", str(state / "journal.json")),  # building
            ("sync", str(state)),
            ("syncfs", str(release)),
            ("sync", str(release / ".manifest.json.new")),
            ("rename", str(release / "manifest.json")),
            ("sync", str(release)),
            ("sync", str(state / ".journal.json.new")),  # committing
            ("rename", str(state / "journal.json")),
            ("sync", str(state)),
            ("rename", str(site.link)),  # the flip
            ("sync", str(project)),
            ("sync", str(state / ".uv.lock.new")),
            ("rename", str(project / "uv.lock")),
            ("sync", str(project)),
        ],
    )
    assert [path for kind, path in found if kind == "rename"].count(str(site.link)) == 1
    assert ("syncfs", str(release)) in found[: found.index(("rename", str(site.link)))]


def test_a_rollback_is_noted_before_the_flip_and_the_flip_is_durable(make_site: SiteFactory) -> None:
    site = adopted(make_site)
    site.releaser("update", check=0)
    found = recorded(site, "rollback")
    flip = found.index(("rename", str(site.link)))
    expect_in_order(found[:flip], [("rename", str(site.state_dir / "journal.json")), ("sync", str(site.state_dir))])
    assert found[flip + 1] == ("sync", str(site.path))
