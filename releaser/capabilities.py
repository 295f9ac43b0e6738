"""The list of all capabilities, each with everything it adds. To remove one, delete its entry and its files.

The strings are dotted names below `releaser`. They are imported when they are needed, so that `releaser list` does not
import the parts of an update. Rules and gates are asked, actions done, and sources tried in this order.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from releaser.system.frozen import Frozen
from releaser.system.state_files import StateFile

Names = tuple[str, ...]


class Capability(Frozen):
    """A part of releaser, and its additions; see docs/architecture.md."""

    name: str
    #: Subclasses of `Part`.
    settings: Names = ()
    #: Its files in the state directory, in the order in which they are deleted: the name of each, and its `StateFile`,
    #: or a tuple with it.
    state: tuple[tuple[str, str], ...] = ()
    #: Functions that yield the problems of a site before a run, each as a Finding.
    checks: Names = ()
    #: The same for settings about other services.
    checks_of_others: Names = ()
    #: The same for what takes long: the programs of the live release, and the health of the live site.
    checks_of_programs: Names = ()
    checks_of_live: Names = ()
    #: Functions that ask the site's Django: each gets a site and `Findings`, adds to these, and returns a remark.
    checks_of_django: Names = ()
    #: Functions that return a line for people about a site, which `check` and `setup` print; empty for none.
    check_remarks: Names = ()
    rules: Names = ()
    sources: Names = ()
    #: Functions that yield why a site cannot choose security fixes, each as a Finding.
    fix_checks: Names = ()
    #: Functions that prepare a staging tree before uv resolves in it: each gets the site in that tree, the log, and
    #: `aside`, which is true in a dry run.
    preparers: Names = ()
    #: Subclasses of `StartingLock`.
    starting_locks: Names = ()
    #: Functions that build a candidate that passes its tests, from a workspace, a resolution and what resolves again;
    #: the first counts.
    searches: Names = ()
    #: Functions that return why the live release has to be rebuilt, from a site, the choice of its Python and the
    #: release; and functions that refuse to touch that release now.
    rebuild_reasons: Names = ()
    guards: Names = ()
    #: Subclasses of `Adopter`, of which the first counts.
    adopters: Names = ()
    #: Functions that return the supply of a site whose settings name a source; None for any other site.
    supplies: Names = ()
    #: Functions that add to the venv of a candidate after its packages: each gets the site and the venv, and raises
    #: BuildError, ToolError and OSError.
    additions: Names = ()
    #: Functions that delete from a venv what additions put there, when it stays without releaser. They raise OSError.
    removals: Names = ()
    #: Functions that restore a damaged release before a rollback to it: each gets the site, the log, and the name that
    #: a person gave, if any, and returns the id of a release that is not damaged, with an empty line. Without a log,
    #: they change nothing, and return a line for each release that they would restore, by its id. They raise
    #: NoSuchReleaseError.
    restorers: Names = ()
    #: Functions that yield defects of a release that `verify` cannot know; each gets the release.
    verifiers: Names = ()
    #: Functions that return how to prevent or repair a damage, from the damaged release and the damage; empty for no
    #: advice.
    damage_advice: Names = ()
    #: Subclasses of `Confinement`, of which the first counts.
    confinements: Names = ()
    #: Subclasses of `Reuse`, of which the first counts.
    reuses: Names = ()
    gates: Names = ()
    actions: Names = ()
    restarts: Names = ()
    #: Functions that return why the updates of a site may not start now, as a `Due`; None if they may. Each
    #: gets the site, and the keys of the facts that limit the update.
    delays: Names = ()
    #: Functions that return the packages that wait in an update, as `PackageWait`: each gets the site, the moment at
    #: which the update begins, and `regardless`, which is true if a person wants it now.
    package_waits: Names = ()
    #: Functions that return the first moment, not before another one, at which an update of a site may begin.
    openings: Names = ()
    #: Functions that return remarks about releases, by their ids: each gets the state directory and the releases.
    remarks: Names = ()
    #: Functions that look after a live release for which an update finds nothing better; each gets its case.
    watchers: Names = ()
    reporters: Names = ()
    #: Classes of sections of the report, whose fields are keys of its JSON.
    reported: Names = ()
    #: Subclasses of `StatusSection`, whose fields are keys of the JSON of `status`.
    statuses: Names = ()
    #: Classes of facts about a release, whose fields are keys of its manifest.
    sealed: Names = ()
    #: Subclasses of `Announcer`, of which the first counts.
    announcers: Names = ()
    #: Functions that add lists to the mail about a run: each gets the site and the report, and yields titles with
    #: items. They may take some seconds, and raise no errors but ReleaserError and OSError.
    mail_lists: Names = ()
    #: Functions that add to the message of a proposal: each gets the site and the release that passed the tests, and
    #: yields lines. They may take some seconds, and raise no errors but ReleaserError and OSError.
    proposal_notes: Names = ()
    #: Functions that act at the end of a run, while it has the lock: each gets the run and its report, and returns the
    #: report, perhaps with another step.
    endings: Names = ()
    #: Functions that add to the report of a run: each gets a site and its report, and returns the report with more.
    sections: Names = ()
    #: Functions that describe a site for a bug report: each gets the site, and yields lines.
    described: Names = ()
    #: Functions that carry out what waits for a site, before an update of it; each gets the parameters of the update.
    preludes: Names = ()
    #: Kinds of requests that people may make on the page of `releaser serve`, as `RequestKind`.
    requests: Names = ()
    #: Options of `update` that name a source, and those that ask for another kind of run.
    elsewhere: Names = ()
    run_options: Names = ()
    #: Modules with commands, and mappings of their answers with --json.
    commands: Names = ()
    answers: Names = ()


CAPABILITIES = (
    Capability(
        name="checkout",
        state=(
            ("journal.json", "releases.journal.JOURNAL"),
            ("lock-before", "checkout.move.LOCK_BEFORE"),
            ("pending.json", "core.follow_up.PENDING"),
        ),
        gates=("gates.flip.FlipChecks",),
        actions=("actions.checkout.Checkout", "actions.python_start.PythonStart"),
        sections=("checkout.publish.add_unpushed",),
    ),
    Capability(
        name="tests",
        settings=("site.staging_settings.StagingSettings",),
        state=(
            ("live-tests.json", "releases.journal.LIVE_TESTS"),
            ("staging-tree", "checkout.staging.MARKS"),
            ("staging-tree-live", "checkout.staging.MARKS"),
            ("staging-tree-beside", "checkout.staging.MARKS"),
            ("staging", "checkout.staging.EARLIER_TREES"),
            ("staging-live", "checkout.staging.EARLIER_TREES"),
            ("staging-beside", "checkout.staging.EARLIER_TREES"),
        ),
        checks=("checkout.staging.staging_link_findings",),
        sealed=("site.site.StagingFacts", "candidate.output.TestFacts"),
    ),
    Capability(
        name="sandbox",
        settings=("sandbox.settings.SandboxSettings",),
        confinements=("candidate.confined.Sandboxed",),
        checks=("candidate.confined.sandbox_findings",),
        statuses=("candidate.sandbox_status.SandboxStatus",),
    ),
    Capability(
        name="shared files",
        settings=("site.sharing_settings.SharingSettings",),
        reuses=("candidate.reuse.FromLive",),
        removals=("candidate.reuse.make_independent",),
        verifiers=("candidate.reuse.find_changed_byte_code",),
    ),
    Capability(
        name="requirements file",
        settings=("site.export_settings.ExportSettings",),
        checks=("checkout.files.export_findings",),
    ),
    Capability(
        name="build output",
        settings=("reporting.hook_settings.BuildSettings",),
        state=(("output", "checkout.output.OUTPUT_FILE"),),
        checks=("checkout.output.output_findings",),
        additions=("checkout.output.take_output",),
    ),
    Capability(name="live processes", additions=("releases.startup.pin",), removals=("releases.startup.take_out",)),
    Capability(
        name="guard against uv",
        settings=("releases.uv_guard.GuardSettings",),
        additions=("releases.uv_guard.guard",),
        removals=("releases.uv_guard.take_out",),
        damage_advice=("releases.uv_guard.advise",),
        check_remarks=("releases.uv_guard.remark",),
    ),
    Capability(name="check of Django", settings=("site.django_settings.CheckSettings",)),
    Capability(
        name="search for what breaks the tests",
        settings=("candidate.culprit_settings.CulpritSettings",),
        searches=("candidate.build_and_test.build_and_test",),
        reported=("locks.blocks.CulpritsSection",),
    ),
    Capability(
        name="security fixes only",
        checks=("sources.security.security_findings",),
        fix_checks=("sources.security.find_unfit",),
        run_options=("commands.only_security.OPTION",),
        reported=("core.due.OnlyFixes",),
        sources=("sources.security.SecurityFixes",),
        gates=("gates.security.SecurityKeepsCheckout",),
    ),
    Capability(
        name="committed lock", sources=("sources.committed.Committed",), supplies=("site.follow.committed_supply",)
    ),
    Capability(name="another Python", starting_locks=("resolution.another_python.AnotherPython",)),
    Capability(
        name="damaged releases",
        rebuild_reasons=("pipelines.damage.find_rebuild_reason",),
        guards=("pipelines.damage.refuse_unreadable_live",),
        endings=("pipelines.unrepaired.add_unrepaired",),
    ),
    Capability(name="adoption", adopters=("pipelines.adopt.Venvs",)),
    Capability(name="conventions", reported=("site.conventions.ConventionsSection",)),
    Capability(
        name="requests",
        settings=("site.request_settings.RequestSettings",),
        state=(("requests.json", "releases.requests.REQUESTS"),),
        check_remarks=("pipelines.requests.remark",),
        preludes=("pipelines.request_prelude.carry_out_before_update",),
        requests=("pipelines.requests.UPDATE", "pipelines.requests.UPDATE_PACKAGE", "pipelines.requests.ROLLBACK"),
        reported=("core.request.RequestedSection",),
        sections=("core.request.add_requester",),
        statuses=("pipelines.request_status.RequestStatus",),
        commands=("commands.serve",),
        answers=("commands.serve.ANSWERS",),
    ),
    Capability(
        name="holds",
        state=(
            ("blocks.json", "releases.blocks.BLOCKS"),
            ("quarantine.json", "releases.earlier_blocks.EARLIER_FILES"),
            ("holds.json", "releases.earlier_blocks.EARLIER_FILES"),
            ("acceptance.json", "releases.earlier_blocks.EARLIER_FILES"),
        ),
        rules=("locks.rules.Held", "locks.rules.Failed"),
        reported=("releases.blocks.HoldsSection", "releases.blocks.FailedTestsSection"),
        sections=("candidate.results.add_holds",),
        statuses=("reporting.hold_status.HoldStatus",),
        requests=("pipelines.holds.HOLD", "pipelines.holds.UNHOLD"),
    ),
    Capability(
        name="settings for versions",
        settings=("resolution.version_settings.VersionSettings",),
        rules=(
            "locks.rules.Constraint",
            "locks.rules.Ignored",
            "locks.rules.Downgrade",
            "locks.rules.Level",
            "locks.rules.TooYoung",
        ),
    ),
    Capability(
        name="vulnerabilities",
        settings=("candidate.audit_settings.AuditSettings",),
        gates=("gates.audit.LiveAudit", "gates.audit.CandidateAudit", "gates.audit.KnownFixes"),
        watchers=("candidate.audit.look_for_fixes",),
        reported=("locks.vulnerabilities.SecuritySection",),
        statuses=("candidate.audit_status.AuditStatus",),
    ),
    Capability(
        name="attestations",
        settings=("candidate.attestation_settings.AttestationSettings",),
        checks_of_others=("candidate.attested.attestation_findings",),
        gates=("gates.attestations.Attestations",),
    ),
    Capability(
        name="packages from S3",
        preparers=("resolution.sources.mirror_sources",),
        settings=("resolution.version_settings.S3Settings",),
        checks_of_others=("resolution.sources.source_findings",),
    ),
    Capability(
        name="window",
        settings=("site.windows.DueSettings",),
        reported=("site.windows.DueSection",),
        openings=("site.windows.next_opening",),
        statuses=("pipelines.due_status.DueStatus",),
    ),
    Capability(
        name="pause",
        state=(("pause.json", "releases.pause.PAUSE"),),
        delays=("pipelines.pause.find_delay",),
        openings=("pipelines.pause.next_opening",),
        sections=("pipelines.pause.add_pause",),
        statuses=("pipelines.pause_status.PauseStatus",),
        requests=("pipelines.pause.PAUSE_UPDATES", "pipelines.pause.RESUME"),
        commands=("commands.pause",),
    ),
    Capability(
        name="package windows",
        settings=("site.package_windows.PackageSettings",),
        rules=("locks.rules.ClosedWindow", "locks.rules.Reviewed"),
        sources=("sources.open_packages.OpenPackages",),
        gates=("gates.package_windows.PackageWindows", "gates.package_windows.WindowKeepsCheckout"),
        delays=("pipelines.package_windows.find_delay",),
        package_waits=("site.package_windows.find_waits",),
        reported=("locks.blocks.PackageWaits", "site.package_windows.OpenPackages"),
        statuses=("pipelines.package_status.PackageStatus",),
    ),
    Capability(name="rebuilding from the same lock", sources=("sources.same.Same",)),
    Capability(name="waiting releases", sources=("sources.waiting.Waiting",)),
    Capability(name="upgrade", sources=("sources.upgrade.Upgrade",)),
    Capability(
        name="proposals",
        settings=("releases.proposal_settings.ProposalSettings",),
        state=(
            ("proposals.json", "releases.proposal.PROPOSALS"),
            ("proposal.json", "releases.proposal.EARLIER_PROPOSAL"),
        ),
        reported=("releases.proposal.ProposalSection",),
        commands=("commands.proposals",),
        mail_lists=("pipelines.proposal_status.list_in_mail",),
        statuses=("pipelines.proposal_status.ProposalStatus",),
    ),
    Capability(
        name="static files",
        settings=("site.django_settings.StaticSettings",),
        state=(("static.json", "serving.static_files.IN_PLACE_FILE"),),
        checks_of_django=("serving.static_checks.check_static_files",),
        gates=("gates.static_files.StaticFiles",),
        actions=("actions.collectstatic.Collectstatic",),
    ),
    Capability(
        name="test start",
        settings=("serving.start_settings.StartSettings",),
        checks=("serving.start_settings.start_findings",),
        actions=("actions.test_start.TestStart",),
    ),
    Capability(name="restart by touch", restarts=("serving.restarts.touch.Touch",)),
    Capability(
        name="restart",
        settings=("site.restart_settings.RestartSettings",),
        checks=("serving.restarts.restart_findings",),
        checks_of_programs=("serving.restarts.live_program_findings",),
        restarts=(
            "serving.restarts.nothing.Nothing",
            "serving.restarts.gunicorn.Gunicorn",
            "serving.restarts.passenger.Passenger",
        ),
        actions=("actions.restart.Restart",),
        reported=("site.restart_settings.OutageSection",),
        described=("serving.servers.describe_servers",),
        statuses=("serving.restart_status.RestartStatus",),
    ),
    Capability(name="restart by two instances", restarts=("serving.restarts.systemd.Systemd",)),
    Capability(name="Django", checks=("serving.manage.settings_without_django",)),
    Capability(name="live health check before a build", gates=("gates.live_health.LiveHealth",)),
    Capability(name="disk space", checks=("candidate.space.space_findings",), gates=("gates.space.DiskSpace",)),
    Capability(
        name="health check",
        settings=("serving.health_settings.HealthSettings",),
        checks=("serving.health_settings.health_findings",),
        checks_of_live=("serving.live_health.live_findings",),
        actions=("actions.health_check.HealthCheck",),
        watchers=("serving.processes.note_stale_processes",),
        reported=("releases.leases.ProcessesSection",),
        sections=("serving.processes.add_processes",),
        statuses=("serving.process_status.ProcessStatus",),
    ),
    Capability(
        name="approval",
        settings=("site.approval_settings.ApprovalSettings",),
        state=(("approvals.json", "releases.approvals.APPROVALS"),),
        remarks=("releases.approvals.list_approved",),
        reported=("releases.approvals.ApprovalSection",),
        gates=("gates.approval.Approval",),
        endings=("pipelines.approval_mail.ask_for_approval",),
        commands=("commands.approve",),
    ),
    Capability(
        name="tests only",
        run_options=("commands.tests_only.OPTION", "commands.tests_only.OF_REBUILD"),
        reported=("releases.tests_only.TestsOnlySection",),
        gates=("gates.tests_only.TestsOnly", "gates.tests_only.TestsOnlyKeepsCheckout"),
        statuses=("pipelines.tests_only_status.TestedStatus",),
    ),
    Capability(name="sites that go first", gates=("gates.canaries.Canaries",)),
    Capability(
        name="hooks after_live and on_rollback",
        actions=("actions.hooks.AfterLive", "actions.hooks.OnRollback"),
    ),
    Capability(
        name="migrations",
        settings=("site.django_settings.MigrationSettings",),
        reported=("site.django_settings.MigrationsSection",),
        sealed=("site.django_settings.MigrationFacts",),
        gates=("gates.migrations.BroughtMigrations", "gates.migrations.AppliedMigrations"),
        actions=("actions.migrations.Migrations",),
    ),
    Capability(name="hooks", settings=("reporting.hook_settings.HookSettings",)),
    Capability(name="hook on_failure", endings=("reporting.hooks.run_on_failure",)),
    Capability(name="hook before_live", gates=("gates.before_live.BeforeLive",)),
    Capability(
        name="mail",
        settings=("site.addresses.MailSettings",),
        state=(
            ("outbox", "site.state_dir.OUTBOX_FILE"),
            ("notes.json", "releases.journal.NOTES"),
        ),
        reported=("releases.journal.MailSection",),
        checks=("reporting.mail_setup.admin_findings", "reporting.mail_setup.sendmail_findings"),
        statuses=("reporting.mail_status.MailStatus",),
    ),
    Capability(
        name="changelogs",
        settings=("reporting.changelog_settings.ChangelogSettings",),
        mail_lists=("reporting.changelog.list_in_mail",),
        proposal_notes=("reporting.changelog.list_in_proposal",),
        commands=("commands.changelog",),
        answers=("commands.changelog.ANSWERS",),
    ),
    Capability(
        name="announcements",
        state=(("lock-alert.json", "reporting.lock_alert.SEEN"),),
        announcers=("reporting.notify.Post",),
    ),
    Capability(name="notices", checks=("reporting.reporters.findings",)),
    Capability(
        name="webhook",
        settings=("reporting.notice_settings.WebhookSettings",),
        reporters=("reporting.reporters.webhook.Webhooks",),
    ),
    Capability(name="pings", settings=("reporting.notice_settings.PingSettings",)),
    Capability(
        name="apprise",
        settings=("reporting.notice_settings.ServiceSettings",),
        reporters=("reporting.reporters.apprise.Apprise",),
    ),
    Capability(name="projects without git", state=(("shadow.git", "site.shadow.SHADOW_FILE"),)),
    Capability(name="override", elsewhere=("commands.elsewhere.override.OPTION",)),
    Capability(
        name="bundles",
        settings=("pipelines.bundle_settings.BundleSettings",),
        state=(
            ("channels.json", "releases.channels.CHANNELS"),
            ("bundles", "bundles.pool.POOL"),
        ),
        elsewhere=("commands.elsewhere.channel.OPTION",),
        commands=("commands.bundles",),
        answers=("commands.bundles.ANSWERS",),
        remarks=("releases.tries.list_tries",),
        statuses=("pipelines.tries_status.TriesStatus",),
    ),
    Capability(
        name="restoring shared files",
        damage_advice=("candidate.restore.advise",),
        restorers=("candidate.restore.restore_for_rollback",),
        endings=("candidate.restore.restore_after_rebuild",),
        actions=("actions.shared_files.SharedFiles",),
    ),
    Capability(name="doctor", commands=("commands.doctor",), answers=("commands.doctor.ANSWERS",)),
    Capability(name="logs", commands=("commands.logs",), answers=("commands.logs.ANSWERS",)),
    Capability(name="shell completion", commands=("commands.shells",), answers=("commands.shells.ANSWERS",)),
    Capability(
        name="releases",
        settings=("releases.retention_settings.RetentionSettings",),
        sealed=(
            "releases.contents.DiskUsage",
            "releases.venv.VenvFacts",
            "site.supply.SupplyFacts",
            "locks.origins.OriginFacts",
        ),
        state=(
            ("reserve", "system.reserve.FILES_OF_IT"),
            ("reserve-inodes", "system.reserve.FILES_OF_IT"),
            ("ledger.json", "releases.release.LEDGER"),
            ("history.jsonl", "releases.journal.HISTORY"),
            ("logs", "core.run.LOGS_FILE"),
            ("answer-uv-version", "system.earlier_answers.ANSWERS"),
            ("answer-python", "system.earlier_answers.ANSWERS"),
            ("releases", "site.state_dir.RELEASES_FILE"),
            ("run", "site.run_lock.RUN_FILE"),
            ("project.json", "site.state_dir.OWNER_FILE"),
        ),
    ),
)


#: The additions that `gather` has returned, by field.
GATHERED: dict[str, tuple[Any, ...]] = {}


def gather(what: str) -> tuple[Any, ...]:
    """Return the additions of all capabilities to one of their fields, such as `checks`, in order."""
    if what not in GATHERED:
        GATHERED[what] = tuple(map(_load, _names_of(what)))
    return GATHERED[what]


def _names_of(what: str) -> Names:
    return tuple(name for capability in CAPABILITIES for name in getattr(capability, what))


def _load(name: str) -> Any:
    module, _, last = name.rpartition(".")
    return getattr(import_module(f"releaser.{module}"), last)


class _Made(Sequence[Any]):
    """An object of each class of a field, imported and made at the first look at it: most runs need few of them."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._made = dict[str, Any]()

    @functools.cached_property
    def _names(self) -> Names:
        return _names_of(self._what)

    def __getitem__(self, place: Any) -> Any:
        name = self._names[place]
        if name not in self._made:
            self._made[name] = _load(name)()
        return self._made[name]

    def __len__(self) -> int:
        return len(self._names)


def make(what: str) -> Sequence[Any]:
    """Return an object of each class that `gather` returns for a field, such as `gates`."""
    return _Made(what)


def state_names() -> tuple[str, ...]:
    """Return the names of all files and directories that releaser keeps in the state directory."""
    return tuple(name for capability in CAPABILITIES for name, _ in capability.state)


def state_file(name: str) -> StateFile:
    """Return the declaration of a file in the state directory. Only then is its module imported."""
    place = next(place for capability in CAPABILITIES for known, place in capability.state if known == name)
    found: StateFile | tuple[StateFile, ...] = _load(place)
    return next(one for one in (found if isinstance(found, tuple) else (found,)) if str(one) == name)


def state_files() -> tuple[StateFile, ...]:
    """Return the declarations of all files and directories that releaser keeps in the state directory."""
    return tuple(map(state_file, state_names()))
