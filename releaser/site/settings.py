"""Every setting: what it is for, its default, and how it is read."""

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Annotated, Any, Literal, get_args

from releaser.capabilities import gather
from releaser.locks.versions import LEVELS, Level
from releaser.site import values
from releaser.site.addresses import Addresses, Sender
from releaser.site.declaring import Part, secret
from releaser.site.values import (
    Command,
    Duration,
    FileInside,
    FilePath,
    FilePaths,
    Ids,
    Interpreter,
    Interval,
    Jitter,
    Limit,
    Line,
    Name,
    Packages,
    PathsInside,
    Patterns,
    Port,
    S3Prefixes,
    UrlOrNone,
    Windows,
)
from releaser.system.frozen import Frozen

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
    """The kind of values of one setting; `aliases` are further environment variables for it."""

    kind: values.Kind[Any]
    default: Any
    aliases: tuple[str, ...] = ()
    secret: bool = False


class Settings(Frozen):
    """Every setting with its default, apart from those that capabilities declare.

    Lengths of time are in seconds, None means that releaser finds out by itself.
    What stands above a field is what `config --schema` and the documentation say of it.
    """

    #: The directory for releases, journal, lock, history, logs and outbox, on the file system of the project.
    state_dir: FilePath | None = None
    #: What this host is, which decides the dependency group that is installed.
    environment: Annotated[str, values.one_of("staging", "production", "local")] | None = None
    #: The dependency group that is installed beside the project's own dependencies; `none` for no group.
    group: Name | None = None
    #: The branch that must be checked out, and that is pulled and pushed.
    branch: Name = "main"
    #: Where the symlink stands that leads to the live release.
    venv: Name = ".venv"
    #: A file of variables that every program of the site gets, in the form of systemd's EnvironmentFile.
    environment_file: FilePath | None = None
    #: The uv program, 0.12 or newer, as an absolute path.
    uv: FilePath | None = field(default=None, metadata={"aliases": ("AUTO_UPDTR__UV_PATH",)})
    #: The time limit of all locking in one run, and of each other call of uv.
    uv_timeout: Limit = 1800.0
    #: The Python that releases are made with, as `uv --python` takes it; it must be installed already.
    python: Interpreter | None = None
    #: How far a version may go from the locked one; `none` builds what git has locked, and upgrades nothing.
    upgrade: Literal["all", "minor", "patch", "none"] = "all"
    #: The same as `upgrade`, for single packages.
    upgrade_packages: Annotated[tuple[tuple[str, Level], ...], values.pairs(values.one_of(*LEVELS))] = ()
    #: The packages that are left as they are locked.
    ignore: Packages = ()
    #: A file of constraints, as pip takes one, that says which versions may come in.
    constraints: FilePath | None = None
    #: Where in S3 packages come from, beside indexes and directories.
    sources: S3Prefixes = ()
    #: The time limit of all downloads from there in one run.
    sources_timeout: Limit = 300.0
    #: How long ago a version must have been uploaded to come in; 0 switches that off.
    min_age: Duration = 3 * 86400.0
    #: How old the fix of a known vulnerability must be, if its package has to be older otherwise.
    min_age_fixes: Duration = 86400.0
    #: Other minimum ages, for single packages.
    min_age_packages: Annotated[tuple[tuple[str, float], ...], values.pairs(values.duration)] = ()
    #: What happens to a version if the index does not say when it was uploaded.
    min_age_unknown: Literal["take", "refuse"] = "take"
    #: Whether releaser verifies who has published a package, by its attestations (PEP 740).
    attestations: Literal["off", "warn", "require"] = "warn"
    #: The `trusted_root.json` of Sigstore that attestations are verified with, in place of the public one.
    attestations_root: FilePath | None = None
    #: The files beside the code that a bundle includes, as paths and patterns in the project. They are tested, go live
    #: and go back with its release; one that was edited on a host stays, and is named.
    bundle_include: Patterns = ()
    #: Whose bundles this host installs: an allowed_signers file, as ssh-keygen(1) describes it.
    bundle_signers: FilePath | None = None
    #: The keys whose signatures are no longer accepted, as a key revocation list or one public key a line.
    bundle_revoked: FilePath | None = None
    #: How long after the beginning of one update the next is due, for `update --if-due`; else a day.
    every: Interval | None = None
    #: When updates may begin, in the local time of the host.
    window: Windows = ()
    #: How long `update --if-due` waits at most before it begins; always the same for one site.
    jitter: Jitter = 0.0
    #: The command that runs the project's tests.
    test_command: Command | None = None
    #: Variables that tests, builds and other programs of the site get although they look like secrets.
    test_environment: Ids = ()
    #: The dependency groups that only the tests need, and that do not go live.
    test_groups: Ids = ()
    #: The time limit of one run of the tests.
    test_timeout: Limit = 1800.0
    #: Whether an update that finds nothing newer runs the tests of the live release: `always`, or not.
    test_live: Literal["changed", "always"] = "changed"
    #: What happens if the tests fail with an update, and pass with the live release.
    culprits: Literal["hold", "report", "off"] = "hold"
    #: How many test runs the search for what breaks the tests may take in one update, beside repeated ones and that
    #: with the next lower versions.
    culprit_runs: int = 20
    #: After how many minutes this search starts no further run.
    culprit_minutes: int = 120
    #: How tests and builds are kept from everything that is not theirs.
    isolate: Literal["auto", "bwrap", "off"] = "auto"
    #: Files and directories where what tests and builds write stays; they must exist.
    test_writable: FilePaths = ()
    #: Sockets, or directories with sockets, that tests and builds can use in addition to those of databases.
    test_sockets: FilePaths = ()
    #: Whether tests can use the network. If not, each test run has a private loopback interface only.
    test_network: bool = True
    #: Whether `manage.py check --deploy` must pass with a candidate, before its tests.
    django_check: Literal["off", "deploy"] = "off"
    #: What counts as a failure of `check --deploy`.
    django_check_level: Literal["error", "warning"] = "error"
    #: What happens if a candidate brings migrations that are not applied; releaser never applies any.
    migrations: Literal["report", "refuse", "off"] = "report"
    #: Whether static files are collected, after the flip or, where the code changes, before it.
    collectstatic: Literal["auto", "on", "off"] = "auto"
    #: The time limit of collecting static files.
    collectstatic_timeout: Limit = 600.0
    #: How the site is made to load the new release: `auto`, `passenger`, `none`, or a command.
    restart: Command = ("auto",)
    #: The file that `restart = "auto"` touches.
    restart_file: Name | None = None
    #: The application root for `restart = "passenger"`, as the configuration of the web server writes it.
    passenger_app_root: FilePath | None = None
    #: Whether what the restart command leaves running stays, such as a server that it starts by itself; it is named.
    restart_leaves_service: bool = True
    #: The time limit of a restart command.
    restart_timeout: Limit = 120.0
    #: A command that stops a service which cannot be restarted in place, right before the flip.
    stop: Command | None = None
    #: The command that starts it again, in place of `restart = "auto"`.
    start: Command | None = None
    #: A command that runs in each staging tree before a candidate is built there.
    before_build: Command | None = None
    #: The files and directories in the project that `before_build` makes and git does not track. They lie in the venv
    #: of each release and go live, and back, with it: in the checkout, each is a symlink through `.venv`. What lies
    #: there before is kept in the state directory, in `output/`. What else the command makes or changes in the staging
    #: tree is refused, except caches and what `staging_omit` names. A bundle does not hold them: the host that installs
    #: it runs `before_build` as well.
    build_output: PathsInside = ()
    #: A command that runs before a tested candidate goes live; if it fails, the candidate does not.
    before_live: Command | None = None
    #: A command that runs right after collectstatic, for example to compress files; it fails as collectstatic does.
    after_static: Command | None = None
    #: A command that runs once a new release is live and well; if it fails, the release stays live.
    after_live: Command | None = None
    #: A command that runs at the end of a run that did not make its release live.
    on_failure: Command | None = None
    #: A command that runs once the site is back on an earlier release.
    on_rollback: Command | None = None
    #: The time limit of each hook.
    hook_timeout: Limit = 300.0
    #: Whether the project is under git where there is a `.git` in it or above.
    git: bool = True
    #: Whether an update fetches the branch and brings in its new commits, fast-forward only.
    git_pull: bool = True
    #: Whether the commit of `uv.lock` is pushed; never by force.
    git_push: bool = True
    #: Whether git may start, for releaser, the hooks, filters and other commands that configuration names.
    git_hooks: bool = False
    #: The time limit of each call of git.
    git_timeout: Limit = 300.0
    #: A requirements file inside the project, behind no symlink, that is written from the lock and committed with it.
    requirements_export: FileInside | None = None
    #: The dependency group in that file; else `prod` or `production`. `none` leaves all out.
    requirements_export_group: Name | None = None
    #: Whether that file has the hashes of all files; pip takes no such file for constraints.
    requirements_export_hashes: bool = True
    #: What git does not track and is copied into the staging tree, so that tests may write to it.
    staging_copy: Patterns = ()
    #: What git does not track and is a symlink in the staging tree, to that of the checkout; refused without a sandbox.
    staging_link: Patterns = ()
    #: What git does not track and is left out of the staging tree.
    staging_omit: Patterns = ()
    #: How many good releases are kept beside the live one.
    keep: int = 5
    #: Good releases younger than this are kept in addition.
    keep_within: Duration = 30 * 86400.0
    #: How many releases are kept that failed, that were backed out, and that tried a package; of each kind.
    keep_failed: int = 2
    #: How old a release must be to be deleted, whatever the other settings say.
    keep_at_least: Duration = 3600.0
    #: The URL of the service, of the OSV form, that is asked for known vulnerabilities; `none`: nobody is.
    vulnerability_service: UrlOrNone | None = None
    #: How long to wait for the whole answer of that service.
    audit_timeout: Limit = 20.0
    #: The ids of vulnerabilities that the site can live with.
    audit_ignore: Ids = ()
    #: Whether fixes of known vulnerabilities come in early, or by the same rules as all else.
    security_fixes: Literal["early", "normal"] = "early"
    #: The group that the files of a release belong to; the user who runs releaser must be a member.
    unix_group: Name | None = None
    #: Whether that group may write releases and the state directory, so that its members run releaser, too.
    group_writable: bool = False
    #: Whether releases get the start-up module, which keeps each process on the release it was started on.
    pin: bool = True
    #: How uv puts files into a release: by sharing blocks of the file system (`clone`), or as copies.
    link_mode: Literal["clone", "copy"] | None = None
    #: The sender of mails: `address`, or `Name <address>`.
    mail_from: Sender | None = field(default=None, metadata={"aliases": ("AUTO_UPDTR__EMAIL_FROM",)})
    #: The mail server; without one, mails go to `sendmail`.
    smtp_host: Line | None = field(default=None, metadata={"aliases": ("AUTO_UPDTR__EMAIL_HOST",)})
    #: The port of the mail server; 0 for the usual one: 587 if `smtp_security` is `starttls`, 465 for `tls`, else 25.
    smtp_port: Port = field(default=0, metadata={"aliases": ("AUTO_UPDTR__EMAIL_HOST_PORT",)})
    #: The user to log in to the mail server as; without one there is no login.
    smtp_user: Line | None = None
    #: The password for the login; it is never shown.
    smtp_password: Line | None = secret(default=None)
    #: A file that holds this password and nothing else.
    smtp_password_file: FilePath | None = None
    #: How the connection to the mail server is encrypted; except for `none`, its certificate is checked.
    smtp_security: Literal["none", "starttls", "tls"] | None = None
    #: The program that takes mails without an `smtp_host`: a path, a name on PATH, or `none` for no program.
    sendmail: FilePath | None = None
    #: How long the mail server may take for each answer; a whole delivery may take four times as long.
    smtp_timeout: Limit = 30.0
    #: Who gets mail about the project.
    admins: Addresses = field(default=(), metadata={"aliases": ("ADMINS_JSON",)})
    #: Who gets mail about releaser itself, and about a project without `admins`.
    updater_admins: Addresses = field(default=(), metadata={"aliases": ("AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON",)})
    #: After how long without a mail the next update sends one, even with nothing to report; 0 is off.
    heartbeat: Duration = 0.0
    #: How long somebody may hold the lock of the project before a mail says so; 0 is off.
    lock_alert: Duration = 7200.0


#: Settings that earlier versions had, and what to do instead.
REMOVED = {
    "test_jobs": "Remove it: a search for what breaks the tests runs them one after the other.",
    "publish": (
        'Remove it. In place of "branch", set `upgrade = "none"`, and let cron run `releaser propose` after'
        " `releaser update`: it tests upgrades and pushes them to `releaser/update` for review."
    ),
}
_USUAL: Mapping[Any, values.Kind[Any]] = {bool: values.flag, int: values.count}


def kind_of(declared: Any) -> values.Kind[Any]:
    """Return the kind of values of such a type, which may also be None for what is not set."""
    if type(None) in get_args(declared):
        declared = get_args(declared)[0]
    own = getattr(declared, "__metadata__", None)
    if own or declared in _USUAL:
        return own[0] if own else _USUAL[declared]
    if not (words := get_args(declared)):
        message = f"{declared} does not say how its values are read; the types at the end of values.py do"
        raise TypeError(message)
    return values.one_of(*words)


PARTS: tuple[type[Part], ...] = gather("settings")


class AllSettings(*PARTS, Settings):  # type: ignore[misc]
    """The settings of releaser itself, and of all capabilities."""


def _list_specs() -> Mapping[str, Spec]:
    declared = list(fields(Settings))
    for part in PARTS:
        place = next((number for number, one in enumerate(declared, 1) if one.name == part.AFTER), len(declared))
        declared[place:place] = fields(part)
    return {one.name: Spec(kind=kind_of(one.type), default=one.default, **one.metadata) for one in declared}


SPECS = _list_specs()


def environment_of(host: str) -> str:
    """Guess the environment from the host name: d… and q… are staging, p… is production, all else is local."""
    return {"d": "staging", "q": "staging", "p": "production"}.get(host[:1].lower(), "local")


def this_host() -> str:
    """Return the short name of this host."""
    import platform  # sooner than `socket`: click has imported it

    return platform.node().partition(".")[0]
