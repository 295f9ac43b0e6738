"""The command `init`: the first release, built from the committed lock, or adopted from the `.venv` that exists."""

from __future__ import annotations

import os

from releaser.candidate.shadow import make_shadow
from releaser.checkout.repository import Repository, open_repository
from releaser.checkout.target import Target
from releaser.errors import explain_os_error, refuse, require
from releaser.live.change import make_live
from releaser.packages.lock import read_lock
from releaser.packages.resolve import Plan, find_python, group_arguments
from releaser.pipelines import checks
from releaser.pipelines.build import build_and_test
from releaser.pipelines.conclude import conclude
from releaser.pipelines.snapshot import require_unchanged, take_snapshot
from releaser.pipelines.update import make_entry, rolled_back
from releaser.releases.journal import Entry, write_entry
from releaser.releases.link import exchange_for_link, read_link
from releaser.releases.release import Key, Manifest, State
from releaser.releases.reserve import fill_reserve
from releaser.releases.store import Store, begin_release, seal_release
from releaser.releases.verify import ask_python_version
from releaser.report.outcome import Outcome
from releaser.site.site import Site
from releaser.system.files import replace_file
from releaser.system.run import Run, now
from releaser.system.text import count


def init(site: Site, run: Run) -> Outcome:
    """Called by session.run_command(): the lock is held and recovery is done."""
    require(checks.find_problems(site, initializing=True))
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


def _ignore_link(site: Site, repository: Repository) -> None:
    """Let git ignore the link: a pattern such as `.venv/` matches a directory alone. The state directory, too."""
    patterns = []
    for path in (site.paths.link, site.paths.state.parent):
        if path.is_relative_to(site.paths.top) and path != site.paths.top:
            patterns.append(f"/{path.relative_to(site.paths.top).as_posix()}")
    repository.exclude(*patterns)


def build_first(site: Site, run: Run, repository: Repository) -> Outcome:
    """Build, test and take live the committed lock."""
    write_entry(site.paths, Entry(phase="building", command="init", run=run.id))
    snapshot = take_snapshot(site, repository)
    head = repository.head()
    target = Target(head, head, repository.code_key(head, site.paths.lockfile_in_tree), publishes=False)
    with make_shadow(site, site.paths.shadow(run.id), head, mark=run.id) as shadow:
        lock = read_lock(shadow.project / "uv.lock")
        python, version = find_python(site, shadow.project, None, mark=run.id)
        plan = Plan(lock, (shadow.project / "uv.lock").read_text(encoding="utf-8"), python, version, None)
        release = build_and_test(site, run, shadow, target, plan, live_site=site)
    require_unchanged(site, repository, snapshot)
    _ignore_link(site, repository)
    result = make_live(site, run, repository, make_entry(site, run, repository, release, target))
    conclude(site, run, repository, result)
    if result.rolled_back:
        return rolled_back(release, result)
    headline = f"Release {release.id} is live, with {count(len(release.manifest.changes), 'package')}."
    return Outcome("updated", 0, headline, release.id, changes=release.manifest.changes)


def adopt(site: Site, run: Run, repository: Repository) -> Outcome:
    """Make the venv in the link's place the first release, without a moment in which no venv is there.

    Its scripts name their path through `.venv`, which stays right. It was live already, so it counts as good.
    """
    link = site.paths.link
    version = ask_python_version(site, link)
    if not version:
        message = f"`{link}` is no virtual environment whose Python starts."
        raise refuse("no-venv", message, f"Move it away: `mv {link} {link}.old`.")
    if os.stat(link).st_dev != os.stat(site.paths.releases).st_dev:
        message = f"`{link}` and the state directory `{site.paths.state}` are on different file systems."
        raise refuse("other-file-system", message, "Set `state_dir` to a directory on the file system of the project.")
    _ignore_link(site, repository)
    directory = begin_release(site.paths)
    write_entry(site.paths, Entry(phase="building", command="init", run=run.id, target=directory.name))
    head = repository.head()
    replace_file(directory / "uv.lock", site.paths.lockfile.read_bytes())
    code = repository.code_key(head, site.paths.lockfile_in_tree)
    key = Key(code, read_lock(directory / "uv.lock").sha256, version, " ".join(group_arguments(site)))
    manifest = Manifest(directory.name, now(), "adopted", key, head)
    order = 1 + max((release.state.order for release in Store(site.paths).releases), default=0)
    with run.step("flip") as detail:
        release = seal_release(directory, manifest, State("good", order=order, live_at=(now(),), commit=head))
        try:
            exchange_for_link(site.paths, release.id, directory / "venv")
        except OSError as error:
            message = f"`{link}` cannot be moved: {explain_os_error(error)}."
            raise refuse("not-adopted", message, f"See `ls -ld {link}`.") from error
        detail.append(release.id)
    fill_reserve(site.paths.reserve)
    headline = f"Release {release.id} is live: `{link}` was adopted as it is. Nothing was restarted."
    return Outcome("updated", 0, headline, release.id)


def preview_init(site: Site) -> Outcome:
    """Say what `init` would do. Writes nothing."""
    require(checks.find_problems(site, initializing=True))
    link = read_link(site.paths)
    if Store(site.paths).live is not None:
        return Outcome("no-changes", 0, f"Release {link.release} is live already.", link.release)
    if link.kind == "foreign" and not link.is_symlink:
        return Outcome("no-changes", 0, f"Would adopt `{site.paths.link}` as the first release.")
    return Outcome("no-changes", 0, "Would build, test and take live a first release from uv.lock.")
