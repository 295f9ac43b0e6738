"""A uv.lock that is a symlink stays one: what is written goes to what it leads to, if that is in the repository."""

import shutil
from pathlib import Path

from tests.e2e.scenes import changed_files, silent
from tests.support.sites import SiteFactory


def test_what_is_written_goes_to_what_it_leads_to_unless_that_is_elsewhere(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    target, link = site.path / "locks" / "site.lock", site.path / "uv.lock"
    target.parent.mkdir()
    shutil.move(link, target)
    for number, way in enumerate((Path("locks/site.lock"), target), 1):
        link.unlink(missing_ok=True)
        link.symlink_to(way)
        site.push_commit(f"Keep the lock elsewhere, {number}")
        version = f"1.{number}.0"
        site.publish("alpha", version)
        site.releaser("update", check=0)
        assert link.is_symlink()
        assert f'version = "{version}"' in target.read_text(encoding="utf-8")
        assert changed_files(site) == {"locks/site.lock"}
        assert (site.git("status", "--porcelain"), site.head()) == ("", site.remote_head())
    silent(site.releaser("update"))
    site.releaser("rollback", "--keep-code", check=0)
    assert link.is_symlink()
    assert 'version = "1.1.0"' in target.read_text(encoding="utf-8")
    assert site.git("status", "--porcelain") == ""
    outside = site.outer / "uv.lock"
    shutil.move(target, outside)
    link.unlink()
    link.symlink_to(outside)
    site.push_commit("Share the lock")
    site.publish("alpha", "1.3.0")
    before, seen = outside.read_bytes(), site.snapshot()
    for words in (["check"], ["update"], ["update", "--dry-run"], ["rollback"], ["rollback", "--dry-run"], ["rebuild"]):
        finished = site.releaser(*words, check=3)
        assert f"uv.lock is a symlink to {outside}, which is outside the repository" in finished.stderr, words
    assert (outside.read_bytes(), site.snapshot()) == (before, seen)
