"""Every setting: what it is for, its default, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from releaser.locks.versions import LEVELS, Level
from releaser.site import values
from releaser.site.addresses import Address, addresses, sender
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.site.values import Window

PREFIX = "RELEASER_"
NO_SERVICE = "none"  # the value of `vulnerability_service` with which nobody is asked
NO_SENDMAIL = "none"  # the value of `sendmail` with which there is none
PROJECT_VARIABLE = "RELEASER_PROJECT"
Hook = Literal[
    "before_build", "before_live", "stop", "start", "after_static", "after_live", "on_failure", "on_rollback"
]
HOOKS: tuple[Hook, ...] = get_args(Hook)
#: What hooks find in their environment, and releaser itself takes no setting from.
HOOK_VARIABLES = ("RELEASER_HOOK", "RELEASER_RELEASE", PROJECT_VARIABLE)
#: By which `update --all` says to the other sites that one which goes first did not end well: which one, and why.
FIRST_FAILED_VARIABLE = "RELEASER_FIRST_FAILED"


class Spec(Frozen):
    """How one setting is read: `parse` raises ValueError; `aliases` are further environment variables for it."""

    parse: Callable[[Any], Any]
    aliases: tuple[str, ...] = ()
    secret: bool = False


def _setting(default: Any, parse: Callable[[Any], Any], *, aliases: tuple[str, ...] = (), secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"spec": Spec(parse=parse, aliases=aliases, secret=secret)})


class Settings(Frozen):
    """Every setting with its default; lengths of time are in seconds, None means that releaser finds out by itself.

    What stands above a field is what `config --schema` and the documentation say of it.
    """

    #: The directory for releases, journal, lock, history, logs and outbox, on the file system of the project.
    state_dir: str | None = _setting(None, values.path)
    #: What this host is, which decides the dependency group that is installed.
    environment: str | None = _setting(None, values.choice("staging", "production", "local"))
    #: The dependency group that is installed beside the project's own dependencies; `none` for no group.
    group: str | None = _setting(None, values.non_empty)
    #: The branch that must be checked out, and that is pulled and pushed.
    branch: str = _setting("main", values.non_empty)
    #: Where the symlink stands that leads to the live release.
    venv: str = _setting(".venv", values.non_empty)
    #: A file of variables that every program of the site gets, in the form of systemd's EnvironmentFile.
    environment_file: str | None = _setting(None, values.path)
    #: The uv program, 0.12 or newer, as an absolute path.
    uv: str | None = _setting(None, values.path, aliases=("AUTO_UPDTR__UV_PATH",))
    #: The time limit of all locking in one run, and of each other call of uv.
    uv_timeout: float = _setting(1800.0, values.limit)
    #: The Python that releases are made with, as `uv --python` takes it; it must be installed already.
    python: str | None = _setting(None, values.interpreter)
    #: How far a version may go from the locked one; `none` builds what git has locked, and upgrades nothing.
    upgrade: Literal["all", "minor", "patch", "none"] = _setting("all", values.choice(*LEVELS, "none"))
    #: The same as `upgrade`, for single packages.
    upgrade_packages: tuple[tuple[str, Level], ...] = _setting((), values.by_package(values.choice(*LEVELS)))
    #: The packages that are left as they are locked.
    ignore: tuple[str, ...] = _setting((), values.package_patterns)
    #: A file of constraints, as pip takes one, that says which versions may come in.
    constraints: str | None = _setting(None, values.path)
    #: Where in S3 packages come from, beside indexes and directories.
    sources: tuple[str, ...] = _setting((), values.s3_prefixes)
    #: The time limit of all downloads from there in one run.
    sources_timeout: float = _setting(300.0, values.limit)
    #: How long ago a version must have been uploaded to come in; 0 switches that off.
    min_age: float = _setting(3 * 86400.0, values.duration)
    #: How old the fix of a known vulnerability must be, if its package has to be older otherwise.
    min_age_fixes: float = _setting(86400.0, values.duration)
    #: Other minimum ages, for single packages.
    min_age_packages: tuple[tuple[str, float], ...] = _setting((), values.by_package(values.duration))
    #: What happens to a version if the index does not say when it was uploaded.
    min_age_unknown: Literal["take", "refuse"] = _setting("take", values.choice("take", "refuse"))
    #: Whether releaser verifies who has published a package, by its attestations (PEP 740).
    attestations: Literal["off", "warn", "require"] = _setting("warn", values.choice("off", "warn", "require"))
    #: The `trusted_root.json` of Sigstore that attestations are verified with, in place of the public one.
    attestations_root: str | None = _setting(None, values.path)
    #: The files beside the code that a bundle includes, as paths and patterns in the project. They are tested, go live
    #: and go back with its release; one that was edited on a host stays, and is named.
    bundle_include: tuple[str, ...] = _setting((), values.patterns)
    #: Whose bundles this host installs: an allowed_signers file, as ssh-keygen(1) describes it.
    bundle_signers: str | None = _setting(None, values.path)
    #: The keys whose signatures are no longer accepted, as a key revocation list or one public key a line.
    bundle_revoked: str | None = _setting(None, values.path)
    #: How long after the beginning of one update the next is due, for `update --if-due`; else a day.
    every: float | None = _setting(None, values.interval)
    #: When updates may begin, in the local time of the host.
    window: tuple[Window, ...] = _setting((), values.windows)
    #: How long `update --if-due` waits at most before it begins; always the same for one site.
    jitter: float = _setting(0.0, values.jitter)
    #: The command that runs the project's tests.
    test_command: tuple[str, ...] | None = _setting(None, values.command)
    #: Variables that tests, builds and other programs of the site get although they look like secrets.
    test_environment: tuple[str, ...] = _setting((), values.ids)
    #: The dependency groups that only the tests need, and that do not go live.
    test_groups: tuple[str, ...] = _setting((), values.ids)
    #: The time limit of one run of the tests.
    test_timeout: float = _setting(1800.0, values.limit)
    #: Whether an update that finds nothing newer runs the tests of the live release: `always`, or not.
    test_live: Literal["changed", "always"] = _setting("changed", values.choice("changed", "always"))
    #: What happens if the tests fail with an update, and pass with the live release.
    culprits: Literal["hold", "report", "off"] = _setting("hold", values.choice("hold", "report", "off"))
    #: How many test runs the search for what breaks the tests may take in one update, beside repeated ones and that
    #: with the next lower versions.
    culprit_runs: int = _setting(20, values.count)
    #: After how many minutes this search starts no further run.
    culprit_minutes: int = _setting(120, values.count)
    #: How tests and builds are kept from everything that is not theirs.
    isolate: Literal["auto", "bwrap", "off"] = _setting("auto", values.choice("auto", "bwrap", "off"))
    #: Files and directories where what tests and builds write stays; they must exist.
    test_writable: tuple[str, ...] = _setting((), values.paths)
    #: Sockets, or directories with sockets, that tests and builds can use in addition to those of databases.
    test_sockets: tuple[str, ...] = _setting((), values.paths)
    #: Whether tests can use the network. If not, each test run has a private loopback interface only.
    test_network: bool = _setting(True, values.flag)
    #: Whether `manage.py check --deploy` must pass with a candidate, before its tests.
    django_check: Literal["off", "deploy"] = _setting("off", values.choice("off", "deploy"))
    #: What counts as a failure of `check --deploy`.
    django_check_level: Literal["error", "warning"] = _setting("error", values.choice("error", "warning"))
    #: What happens if a candidate brings migrations that are not applied; releaser never applies any.
    migrations: Literal["report", "refuse", "off"] = _setting("report", values.choice("report", "refuse", "off"))
    #: Whether static files are collected, after the flip or, where the code changes, before it.
    collectstatic: str = _setting("auto", values.choice("auto", "on", "off"))
    #: The time limit of collecting static files.
    collectstatic_timeout: float = _setting(600.0, values.limit)
    #: How the site is made to load the new release: `auto`, `passenger`, `none`, or a command.
    restart: tuple[str, ...] = _setting(("auto",), values.command)
    #: The file that `restart = "auto"` touches.
    restart_file: str | None = _setting(None, values.non_empty)
    #: The application root for `restart = "passenger"`, as the configuration of the web server writes it.
    passenger_app_root: str | None = _setting(None, values.path)
    #: Whether what the restart command leaves running stays, such as a server that it starts by itself; it is named.
    restart_leaves_service: bool = _setting(True, values.flag)
    #: The time limit of a restart command.
    restart_timeout: float = _setting(120.0, values.limit)
    #: A command that stops a service which cannot be restarted in place, right before the flip.
    stop: tuple[str, ...] | None = _setting(None, values.command)
    #: The command that starts it again, in place of `restart = "auto"`.
    start: tuple[str, ...] | None = _setting(None, values.command)
    #: What decides whether the site is well: a URL that must answer, or a command that must end with 0.
    health_check: str | None = _setting(None, values.url_or_command)
    #: The statuses that the URL may answer with: `200`, a class such as `2xx`, a range such as `200-204`.
    health_status: tuple[range, ...] = _setting((range(200, 300), range(300, 400)), values.statuses)
    #: A text that must be in the first 1,000,000 bytes of the page, as it stands in its source.
    health_text: str | None = _setting(None, values.visible)
    #: The absolute path of a unix socket to ask the URL through.
    health_socket: str | None = _setting(None, values.socket_path)
    #: The host to ask for, in the header `Host` and of the certificate, if it is not that of the URL.
    health_host: str | None = _setting(None, values.host)
    #: How long one try may take.
    health_timeout: float = _setting(10.0, values.limit)
    #: How many more tries there are after the first.
    health_retries: int = _setting(7, values.count)
    #: How long to wait between two tries.
    health_pause: float = _setting(2.0, values.duration)
    #: For how long answers must stay good where nobody can tell which release gives them; 0 asks once.
    health_seconds: float = _setting(10.0, values.duration)
    #: A command that runs in each staging tree before a candidate is built there.
    before_build: tuple[str, ...] | None = _setting(None, values.command)
    #: The files and directories in the project that `before_build` makes and git does not track. They lie in the venv
    #: of each release and go live, and back, with it: in the checkout, each is a symlink through `.venv`. What lies
    #: there before is kept in the state directory, in `output/`. What else the command makes or changes in the staging
    #: tree is refused, except caches and what `staging_omit` names. A bundle does not hold them: the host that installs
    #: it runs `before_build` as well.
    build_output: tuple[str, ...] = _setting((), values.paths_inside)
    #: A command that runs before a tested candidate goes live; if it fails, the candidate does not.
    before_live: tuple[str, ...] | None = _setting(None, values.command)
    #: A command that runs right after collectstatic, for example to compress files; it fails as collectstatic does.
    after_static: tuple[str, ...] | None = _setting(None, values.command)
    #: A command that runs once a new release is live and well; if it fails, the release stays live.
    after_live: tuple[str, ...] | None = _setting(None, values.command)
    #: A command that runs at the end of a run that did not make its release live.
    on_failure: tuple[str, ...] | None = _setting(None, values.command)
    #: A command that runs once the site is back on an earlier release.
    on_rollback: tuple[str, ...] | None = _setting(None, values.command)
    #: The time limit of each hook.
    hook_timeout: float = _setting(300.0, values.limit)
    #: Whether the project is under git where there is a `.git` in it or above.
    git: bool = _setting(True, values.flag)
    #: Whether an update fetches the branch and brings in its new commits, fast-forward only.
    git_pull: bool = _setting(True, values.flag)
    #: Whether the commit of `uv.lock` is pushed; never by force.
    git_push: bool = _setting(True, values.flag)
    #: What becomes of an upgraded lock that is tested: a commit, or a branch to review, which goes live once merged.
    publish: Literal["commit", "branch"] = _setting("commit", values.choice("commit", "branch"))
    #: Whether git may start, for releaser, the hooks, filters and other commands that configuration names.
    git_hooks: bool = _setting(False, values.flag)
    #: The time limit of each call of git.
    git_timeout: float = _setting(300.0, values.limit)
    #: A requirements file inside the project, behind no symlink, that is written from the lock and committed with it.
    requirements_export: str | None = _setting(None, values.file_inside)
    #: The dependency group in that file; else `prod` or `production`. `none` leaves all out.
    requirements_export_group: str | None = _setting(None, values.non_empty)
    #: Whether that file has the hashes of all files; pip takes no such file for constraints.
    requirements_export_hashes: bool = _setting(True, values.flag)
    #: What git does not track and is copied into the staging tree, so that tests may write to it.
    staging_copy: tuple[str, ...] = _setting((), values.patterns)
    #: What git does not track and is a symlink in the staging tree, to that of the checkout; refused without a sandbox.
    staging_link: tuple[str, ...] = _setting((), values.patterns)
    #: What git does not track and is left out of the staging tree.
    staging_omit: tuple[str, ...] = _setting((), values.patterns)
    #: How many good releases are kept beside the live one.
    keep: int = _setting(5, values.count)
    #: Good releases younger than this are kept in addition.
    keep_within: float = _setting(30 * 86400.0, values.duration)
    #: How many releases are kept that failed, that were backed out, and that tried a package; of each kind.
    keep_failed: int = _setting(2, values.count)
    #: How old a release must be to be deleted, whatever the other settings say.
    keep_at_least: float = _setting(3600.0, values.duration)
    #: The URL of the service, of the OSV form, that is asked for known vulnerabilities; `none`: nobody is.
    vulnerability_service: str | None = _setting(None, values.url_or_none)
    #: How long to wait for the whole answer of that service.
    audit_timeout: float = _setting(20.0, values.limit)
    #: The ids of vulnerabilities that the site can live with.
    audit_ignore: tuple[str, ...] = _setting((), values.ids)
    #: Whether fixes of known vulnerabilities come in early, or by the same rules as all else.
    security_fixes: Literal["early", "normal"] = _setting("early", values.choice("early", "normal"))
    #: The group that the files of a release belong to; the user who runs releaser must be a member.
    unix_group: str | None = _setting(None, values.non_empty)
    #: Whether that group may write releases and the state directory, so that its members run releaser, too.
    group_writable: bool = _setting(False, values.flag)
    #: Whether releases get the start-up module, which keeps each process on the release it was started on.
    pin: bool = _setting(True, values.flag)
    #: How uv puts files into a release: by sharing blocks of the file system (`clone`), or as copies.
    link_mode: str | None = _setting(None, values.choice("clone", "copy"))
    #: The sender of mails: `address`, or `Name <address>`.
    mail_from: str | None = _setting(None, sender, aliases=("AUTO_UPDTR__EMAIL_FROM",))
    #: The mail server; without one, mails go to `sendmail`.
    smtp_host: str | None = _setting(None, values.text, aliases=("AUTO_UPDTR__EMAIL_HOST",))
    #: The port of the mail server; 0 for the usual one: 587 if `smtp_security` is `starttls`, 465 for `tls`, else 25.
    smtp_port: int = _setting(0, values.port, aliases=("AUTO_UPDTR__EMAIL_HOST_PORT",))
    #: The user to log in to the mail server as; without one there is no login.
    smtp_user: str | None = _setting(None, values.text)
    #: The password for the login; it is never shown.
    smtp_password: str | None = _setting(None, values.text, secret=True)
    #: A file that holds this password and nothing else.
    smtp_password_file: str | None = _setting(None, values.path)
    #: How the connection to the mail server is encrypted; except for `none`, its certificate is checked.
    smtp_security: Literal["none", "starttls", "tls"] | None = _setting(None, values.choice("none", "starttls", "tls"))
    #: The program that takes mails without an `smtp_host`: a path, a name on PATH, or `none` for no program.
    sendmail: str | None = _setting(None, values.path)
    #: How long the mail server may take for each answer; a whole delivery may take four times as long.
    smtp_timeout: float = _setting(30.0, values.limit)
    #: Who gets mail about the project.
    admins: tuple[Address, ...] = _setting((), addresses, aliases=("ADMINS_JSON",))
    #: Who gets mail about releaser itself, and about a project without `admins`.
    updater_admins: tuple[Address, ...] = _setting((), addresses, aliases=("AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON",))
    #: After how long without a mail the next update sends one, even with nothing to report; 0 is off.
    heartbeat: float = _setting(0.0, values.duration)
    #: A URL that gets the report by POST whenever a mail is due, as `update --json` prints it.
    webhook: str | None = _setting(None, values.url_or_none, secret=True)
    #: The secret that reports to the webhook are signed with.
    webhook_secret: str | None = _setting(None, values.text, secret=True)
    #: A URL that is told when an update begins and how it ends, as services that monitor cron jobs expect.
    ping_url: str | None = _setting(None, values.url_or_none, secret=True)
    #: Apprise URLs of services that get a few lines whenever a mail is due.
    notify: tuple[str, ...] = _setting((), values.services, secret=True)
    #: How long somebody may hold the lock of the project before a mail says so; 0 is off.
    lock_alert: float = _setting(7200.0, values.duration)

    @property
    def follows(self) -> bool:
        """Whether the lock is that of git, which other hosts upgrade, or people who merge what is proposed."""
        return self.upgrade == "none" or self.publish == "branch"

    @property
    def proposes(self) -> bool:
        """Whether upgrades are proposed on a branch of their own."""
        return self.publish == "branch" and self.upgrade != "none"


#: Settings that earlier versions had, and what to do instead.
REMOVED = {"test_jobs": "Remove it: a search for what breaks the tests runs them one after the other."}
SPECS: Mapping[str, Spec] = {item.name: item.metadata["spec"] for item in fields(Settings)}


def environment_of(host: str) -> str:
    """Guess the environment from the host name: d… and q… are staging, p… is production, all else is local."""
    return {"d": "staging", "q": "staging", "p": "production"}.get(host[:1].lower(), "local")


def this_host() -> str:
    """Return the short name of this host."""
    import platform  # sooner than `socket`: click has imported it

    return platform.node().partition(".")[0]
