"""The command `init`: the first release, built from the committed lock, or adopted from the `.venv` that exists."""

from __future__ import annotations

from releaser.candidate.build import LockInstaller
from releaser.candidate.identity import make_key
from releaser.candidate.shadow import make_shadow
from releaser.candidate.trial import Attempt, seal, try_candidate
from releaser.checkout.snapshot import require_unchanged
from releaser.checkout.target import Target
from releaser.errors import refuse
from releaser.live.change import make_entry, make_live
from releaser.live.hooks import run_before_live
from releaser.packages.lock import read_lock
from releaser.packages.resolve import Plan, choose_python
from releaser.pipelines.adopt import adopt, ignore_link
from releaser.pipelines.checks import Look, list_hints, look
from releaser.pipelines.conclude import conclude
from releaser.releases.journal import Entry, write_entry
from releaser.releases.store import SiteRun, Store
from releaser.report.outcomes import (
    Outcome,
    explain_failure,
    make_failed,
    make_rolled_back,
    make_unchanged,
    make_updated,
)
from releaser.site.site import Site


def init(site: Site, run: SiteRun) -> Outcome:
    """Called by session.run_command(): the lock is held, recovery is done, `run.store` is read."""
    view, store = look(site, run.store, mark=run.id, is_first=True), run.store
    view.require_fit()
    for hint in list_hints(site):
        run.note(hint)
    if store.live is not None:
        return make_unchanged(f"Release {store.live.id} is live already.", store.live.id)
    if store.link.kind == "foreign":
        if store.link.is_symlink:
            message = f"`{site.paths.link}` is a link to `{store.link.text}`, which cannot be adopted."
            advice = f"Run `rm {site.paths.link}`, then `releaser init` to build a release from uv.lock."
            raise refuse("foreign-link", message, advice)
        return adopt(site, run)
    return _build_first(site, run, view)


def _build_first(site: Site, run: SiteRun, view: Look) -> Outcome:
    """Build, test and take live the committed lock."""
    write_entry(site.paths, Entry("building", run.command.name, run.id))
    repository, snapshot = view.repository, view.require_fit()
    head = snapshot.checkout.head
    target = Target(head, head, repository.code_key(head, *site.committed_paths), publishes=False)
    with make_shadow(site, repository, site.paths.shadow(f"{run.id}-lock"), head, mark=run.id) as shadow:
        lock = read_lock(shadow.project / "uv.lock")
        text = (shadow.project / "uv.lock").read_text(encoding="utf-8")
        plan = Plan(lock, text, *choose_python(site, shadow.project, None, mark=run.id))
    attempt = Attempt(target, site, plan, make_key(site, plan, target.code_key))
    trial = try_candidate(run, repository, attempt, None, LockInstaller(plan))
    release = seal(trial, run, None)
    run.store = run.store.having(release)
    if trial.failed_gate:
        return make_failed(explain_failure(release, trial.tests.output, trial.advice), release, (), is_known=False)
    run_before_live(site, run, release.id, None)
    require_unchanged(site, repository, snapshot)
    ignore_link(site, repository)
    result = make_live(site, run, repository, make_entry(run, release, head, head))
    conclude(site, run, repository, result)
    return make_rolled_back(release, result) if result.rolled_back else make_updated(release, result, "")


def preview_init(site: Site) -> Outcome:
    """Say what `init` would do. Writes nothing."""
    store = Store(site.paths)
    look(site, store, is_first=True).require_fit()
    if store.live is not None:
        return make_unchanged(f"Release {store.live.id} is live already.", store.live.id)
    if store.link.kind == "foreign" and not store.link.is_symlink:
        return make_unchanged(f"Would adopt `{site.paths.link}` as the first release.")
    return make_unchanged("Would build, test and take live a first release from uv.lock.")
