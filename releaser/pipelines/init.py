"""The command `init`: the first release, built from the committed lock, or adopted from the `.venv` that exists."""

from __future__ import annotations

from releaser.candidate.shadow import make_shadow
from releaser.checkout.repository import Repository, open_repository
from releaser.checkout.target import Target
from releaser.errors import refuse, require
from releaser.live.change import make_live
from releaser.live.hooks import run_before_live
from releaser.packages.lock import read_lock
from releaser.packages.resolve import Plan, find_python
from releaser.pipelines import checks
from releaser.pipelines.adopt import adopt, ignore_link
from releaser.pipelines.build import build_and_test
from releaser.pipelines.conclude import conclude
from releaser.pipelines.snapshot import require_unchanged, take_snapshot
from releaser.pipelines.update import make_entry, rolled_back
from releaser.releases.journal import Entry, write_entry
from releaser.releases.link import read_link
from releaser.releases.store import Store
from releaser.report.outcome import Outcome
from releaser.site.site import Site
from releaser.system.run import Run
from releaser.system.text import count


def init(site: Site, run: Run) -> Outcome:
    """Called by session.run_command(): the lock is held and recovery is done."""
    require(checks.find_problems(site, initializing=True))
    if hint := checks.find_stale_export(site):
        run.note(hint)
    store = Store(site.paths)
    if store.live is not None:
        return Outcome("no-changes", 0, f"Release {store.live.id} is live already.", store.live.id)
    repository = open_repository(site, run.id)
    if store.link.kind == "foreign":
        if store.link.is_symlink:
            message = f"`{site.paths.link}` is a link to `{store.link.text}`, which cannot be adopted."
            advice = f"Run `rm {site.paths.link}`, then `releaser init` to build a release from uv.lock."
            raise refuse("foreign-link", message, advice)
        return adopt(site, run, repository)
    return build_first(site, run, repository)


def build_first(site: Site, run: Run, repository: Repository) -> Outcome:
    """Build, test and take live the committed lock."""
    write_entry(site.paths, Entry(phase="building", command="init", run=run.id))
    snapshot = take_snapshot(site, repository)
    head = repository.head()
    target = Target(head, head, repository.code_key(head, *site.committed_paths), publishes=False)
    with make_shadow(site, site.paths.shadow(run.id), head, mark=run.id) as shadow:
        lock = read_lock(shadow.project / "uv.lock")
        python, version = find_python(site, shadow.project, None, mark=run.id)
        plan = Plan(lock, (shadow.project / "uv.lock").read_text(encoding="utf-8"), python, version, None)
        release = build_and_test(site, run, shadow, target, plan, live_site=site)
    run_before_live(site, run, release.id, None)
    require_unchanged(site, repository, snapshot)
    ignore_link(site, repository)
    result = make_live(site, run, repository, make_entry(site, run, repository, release, target))
    conclude(site, run, repository, result)
    if result.rolled_back:
        return rolled_back(release, result)
    headline = f"Release {release.id} is live, with {count(len(release.manifest.changes), 'package')}."
    return Outcome("updated", 0, headline, release.id, changes=release.manifest.changes)


def preview_init(site: Site) -> Outcome:
    """Say what `init` would do. Writes nothing."""
    require(checks.find_problems(site, initializing=True))
    link = read_link(site.paths)
    if Store(site.paths).live is not None:
        return Outcome("no-changes", 0, f"Release {link.release} is live already.", link.release)
    if link.kind == "foreign" and not link.is_symlink:
        return Outcome("no-changes", 0, f"Would adopt `{site.paths.link}` as the first release.")
    return Outcome("no-changes", 0, "Would build, test and take live a first release from uv.lock.")
