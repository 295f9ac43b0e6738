"""A state directory belongs to one project; a second one that is set to it is refused before it changes anything."""

import json
import shutil

import pytest

from tests.e2e.scenes import outer_snapshot, silent, states
from tests.support.sites import SampleSite, SiteFactory


@pytest.fixture
def first(make_site: SiteFactory) -> SampleSite:
    """A site with two releases."""
    return make_site.adopted("1.1.0", name="shop", outer="first")


def owner(site: SampleSite) -> dict[str, object]:
    found: dict[str, object] = json.loads((site.state_dir / "project.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.attack
def test_a_second_project_is_refused_by_every_command(first: SampleSite, make_site: SiteFactory) -> None:
    second = make_site(
        "blog", outer="second", venv=True, dotenv={"RELEASER_STATE_DIR": str(first.state_dir), "RELEASER_KEEP": "0"}
    )
    before, theirs = outer_snapshot(first), second.snapshot()
    live, known = first.live_id(), states(first)
    for words in (
        ["init"], ["update"], ["update", "--dry-run"], ["rebuild"], ["rollback"], ["rollback", live], ["prune"],
        ["pin", live], ["hold", "alpha"], ["check"],
    ):  # fmt: skip
        finished = second.releaser(*words, check=3)
        named = f"{first.path} (its link is {first.path}/.venv, its owner {first.path.owner()})"
        assert f"belongs to the project {named}" in finished.stderr, words
        assert f"not to {second.path} " in finished.stderr, words
    assert any(str(first.path) in problem for problem in second.json("status")["problems"])
    assert str(first.path) in second.releaser("list", "-v").stderr
    assert (outer_snapshot(first), second.snapshot()) == (before, theirs)
    assert (first.live_id(), states(first)) == (live, known)
    silent(first.releaser("update"))


def test_who_owns_it_is_written_down_again_where_it_is_lost_and_all_may_be_moved_together(first: SampleSite) -> None:
    path = first.state_dir / "project.json"
    written = owner(first)
    assert written == {"version": 2, "root": "../../shop", "link": "../../shop/.venv", "owner": first.path.owner()}
    path.unlink()  # as an earlier releaser left it
    silent(first.releaser("update"))
    assert owner(first) == written
    path.write_text("garbage", encoding="utf-8")
    assert "project.json could not be read" in first.releaser("update", "-v", check=0).stderr
    assert owner(first) == written
    other = first.outer.rename(first.outer.with_name("elsewhere"))
    silent(first.releaser("update", "--project", other / "shop"))


def test_a_project_that_was_moved_is_taken_over_with_a_word(make_site: SiteFactory) -> None:
    site = make_site("shop", venv=True)
    fixed = {"RELEASER_STATE_DIR": str(site.state_dir)}
    site.releaser("init", check=0, env=fixed)
    moved = site.path.with_name("store")
    shutil.move(site.path, moved)
    finished = site.releaser("update", "-v", "--project", moved, env=fixed, check=0)
    assert f"moved from {site.path}" in finished.stdout + finished.stderr
    assert owner(site)["root"] == "../../store"
    silent(site.releaser("update", "--project", moved, env=fixed))
    moved.joinpath(".venv").unlink()  # one whose link leads elsewhere might be anybody
    shutil.move(moved, site.path)
    assert f"belongs to the project {moved}" in site.releaser("update", env=fixed, check=3).stderr
