"""What has to be on the disk before the next thing may be: the order of syncs and renames."""

from pathlib import Path

from tests.e2e.recording import recorded
from tests.support.sites import SiteFactory


def expect_in_order(found: list[tuple[str, Path]], wanted: list[tuple[str, Path]]) -> None:
    """See that the wanted entries are found in this order, with whatever else between them."""
    left = iter(found)
    for one in wanted:
        assert one in left, f"{one} is missing, or comes too early, in\n" + "\n".join(map(str, found))


def test_each_step_of_an_update_and_of_a_rollback_is_durable_before_the_next(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    found = recorded(site, "update")
    release, state, project = site.state_dir / "releases" / site.live_id(), site.state_dir, site.path
    wanted = [
        ("rename", state / "journal.json"),  # building
        ("sync", state),
        ("syncfs", release),
        ("sync", release / ".manifest.json.new"),
        ("rename", release / "manifest.json"),
        ("sync", release),
        ("sync", state / ".journal.json.new"),  # committing
        ("rename", state / "journal.json"),
        ("sync", state),
        ("rename", site.link),  # the flip
        ("sync", project),
        ("sync", state / ".uv.lock.new"),
        ("rename", project / "uv.lock"),
        ("sync", project),
    ]
    expect_in_order(found, wanted)
    assert [path for kind, path in found if kind == "rename"].count(site.link) == 1
    assert ("syncfs", release) in found[: found.index(("rename", site.link))]

    found = recorded(site, "rollback")
    flip = found.index(("rename", site.link))
    expect_in_order(found[:flip], [("rename", state / "journal.json"), ("sync", state)])
    assert found[flip + 1] == ("sync", project)
