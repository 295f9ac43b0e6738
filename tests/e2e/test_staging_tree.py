"""Everything before the flip happens in a staging tree: the checkout that visitors see does not change meanwhile."""

import threading
from collections.abc import Callable

import pytest

from tests.e2e.scenes import body, steps
from tests.support.sites import SampleSite, SiteFactory


def _seen_during(site: SampleSite, act: Callable[[], object]) -> set[tuple[str, str, str]]:
    """Return every state that the checkout had while something happened: HEAD, status, the code of the site."""
    seen: set[tuple[str, str, str]] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            status = site.git("--no-optional-locks", "status", "--porcelain", "--untracked-files=all")
            try:
                code = (site.path / "site_settings.py").read_text(encoding="utf-8")
            except FileNotFoundError:  # git takes a file away before it writes it again
                code = ""
            seen.add((site.head(), status, code))

    looker = threading.Thread(target=look)
    looker.start()
    try:
        act()
    finally:
        done.set()
        looker.join()
    return seen


@pytest.mark.story
def test_an_accepted_update_moves_the_checkout_once_and_names_the_commit(make_site: SiteFactory) -> None:
    """The staging tree that a killed run has left is in nobody's way."""
    site = make_site.adopted()
    tree = site.outer / f".{site.path.name}.releaser-staging"
    site.git("worktree", "add", "--quiet", "--detach", str(tree), "HEAD")
    (tree / "stray").mkdir(mode=0o500)
    before = site.head()
    settings = (site.path / "site_settings.py").read_text(encoding="utf-8")
    changed = {"site_settings.py": settings + "# tested\n", "notes/.gitkeep": ""}
    site.edit("notes/local.ini", "secret")
    (site.path / ".git" / "info" / "exclude").write_text(".venv\nlocal.ini\n", encoding="utf-8")
    theirs = site.push_from_elsewhere(changed, message="Write the notes")
    seen = _seen_during(site, lambda: site.releaser("update", check=0))
    assert {head for head, _, _ in seen} <= {before, theirs}
    assert site.head() == theirs
    report = site.json("history")[0]
    names = steps(report)
    assert names.index("test") < names.index("move checkout") < names.index("flip") < names.index("restart")
    assert not tree.exists()
    assert "staging" not in site.git("worktree", "list")
    assert (report["commit"], report["subject"]) == (theirs, "Write the notes")
    assert report["commits"] == [{"id": theirs, "subject": "Write the notes", "author": "Edsger"}]
    assert report["pulled"]["old"] == before
    shown = site.json("show", report["release"])
    assert (shown["commit"], shown["subject"]) == (theirs, "Write the notes")
    assert "notes/local.ini" in shown["staging_copied"]
    assert "notes/local.ini (copied)" in site.releaser("show", report["release"], check=0).stdout
    assert f"{theirs[:7]} Write the notes" in site.releaser("list", check=0).stdout
    assert f"{theirs[:12]} Write the notes (Edsger)" in body(site)
