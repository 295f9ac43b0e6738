"""What has to be on the disk before the next thing may be: the order of syncs and renames."""

from tests.faults.observed import points
from tests.support.sites import SampleSite, SiteFactory

STATE = ".releaser/site"
RELEASE = f"{STATE}/releases/<release>"


def events(site: SampleSite, command: str) -> list[str]:
    return [point.event for point in points(site, command)]


def expect_in_order(found: list[str], wanted: list[str]) -> None:
    """See that the wanted events are found in this order, with whatever else between them."""
    left = iter(found)
    for one in wanted:
        assert one in left, f"{one} is missing, or comes too early, in\n" + "\n".join(found)


def test_each_step_of_an_update_and_of_a_rollback_is_durable_before_the_next(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    found = events(site, "update")
    wanted = [
        f"rename {STATE}/journal.json",  # building
        f"sync-entry {STATE}/journal.json",
        f"syncfs {RELEASE}",
        f"sync-data {RELEASE}/.manifest.json.new",
        f"rename {RELEASE}/manifest.json",
        f"sync-entry {RELEASE}/manifest.json",
        f"sync-data {STATE}/.journal.json.new",  # committing
        f"rename {STATE}/journal.json",
        f"sync-entry {STATE}/journal.json",
        "rename site/.venv",  # the flip
        "sync-entry site/.venv",
        f"sync-data {STATE}/.uv.lock.new",
        "rename site/uv.lock",
        "sync-entry site/uv.lock",
    ]
    expect_in_order(found, wanted)
    assert found.count("rename site/.venv") == 1
    assert f"syncfs {RELEASE}" in found[: found.index("rename site/.venv")]

    found = events(site, "rollback")
    flip = found.index("rename site/.venv")
    expect_in_order(found[:flip], [f"rename {STATE}/journal.json", f"sync-entry {STATE}/journal.json"])
    assert found[flip + 1] == "sync-entry site/.venv"
