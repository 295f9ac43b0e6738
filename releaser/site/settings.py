"""All settings, with their purposes, defaults and types."""

import functools
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from releaser.capabilities import gather
from releaser.site import values
from releaser.site.declaring import Part, Rule, intersect, once_live, unless_reverted
from releaser.site.values import (
    Command,
    FilePath,
    Ids,
    Interpreter,
    Limit,
    Name,
    UrlOrNone,
)
from releaser.system.expression import expression
from releaser.system.frozen import Frozen, field, fields

PREFIX = "RELEASER_"
NO_SERVICE = "none"  # the value of `vulnerability_service` for no service
PROJECT_VARIABLE = "RELEASER_PROJECT"
Hook = Literal[
    "before_build", "before_live", "stop", "start", "after_static", "after_live", "on_failure", "on_rollback"
]
HOOKS: tuple[Hook, ...] = get_args(Hook)
#: Variables in the environment of hooks, from which releaser takes no setting.
HOOK_VARIABLES = ("RELEASER_HOOK", "RELEASER_RELEASE", PROJECT_VARIABLE)
#: In this variable, the other sites of `update --all` get the name of a first site that did not end well, and why.
FIRST_FAILED_VARIABLE = "RELEASER_FIRST_FAILED"
_VERSION = expression(r"[\d.,<>=~!* ]+t?")  # any other Python may be a path in the commit


def _accept_version(live: str | None, own: str | None, _: Any) -> str | None:
    return own if own is None or _VERSION.fullmatch(own) else live


class Spec(Frozen):
    """The type and default of one setting; `aliases` are further environment variables for it."""

    declared: Any
    default: Any
    aliases: tuple[str, ...] = ()
    secret: bool = False
    #: Chooses the value for the build and the tests of a commit that is not live; None for that of the commit.
    in_force: Rule | None = None
    #: Another setting. Until the commit is live, its own value counts only if its value of that setting does.
    in_force_with: str = ""

    @functools.cached_property
    def kind(self) -> values.Kind[Any]:
        """The kind of its values; most runs need that of few settings."""
        return kind_of(self.declared)


class Settings(Frozen):
    """Every setting with its default, apart from those that capabilities declare.

    Lengths of time are in seconds. None means that releaser detects the value. The comments above the fields are the
    text of `config --schema` and of the documentation.
    """

    #: The directory for releases, journal, lock, history, logs and waiting mails, on the file system of the project.
    state_dir: FilePath | None = None
    #: The environment of this host. It decides which dependency group is installed.
    environment: Annotated[str, values.one_of("staging", "production", "local")] | None = None
    #: The dependency group to install in addition to the project's own dependencies; `none` for no group.
    group: Name | None = None
    #: The branch that must be checked out, and that releaser pulls and pushes.
    branch: Name = "main"
    #: The path of the symlink to the live release.
    venv: Name = ".venv"
    #: A file of variables that every program of the site gets, in the form of systemd's EnvironmentFile.
    environment_file: FilePath | None = once_live(default=None)  # LD_PRELOAD reaches programs outside the sandbox
    #: The uv program, 0.12 or newer, as an absolute path.
    uv: FilePath | None = field(
        default=None, metadata={"aliases": ("AUTO_UPDTR__UV_PATH",), "in_force": unless_reverted}
    )
    #: The time limit of all locking in one run, and of each other call of uv.
    uv_timeout: Limit = 1800.0
    #: The Python of releases, as for `uv --python`. It must already be installed.
    python: Interpreter | None = field(default=None, metadata={"in_force": _accept_version})
    #: The largest upgrade of a package; `security` installs only fixes of known vulnerabilities, and their
    #: requirements; `none` deploys the committed lock, and upgrades nothing.
    upgrade: Literal["all", "minor", "patch", "security", "none"] = "all"
    #: The command that runs the project's tests.
    test_command: Command | None = None
    #: Variables to pass to tests, builds and other programs of the site although they look like secrets.
    test_environment: Ids = field(default=(), metadata={"in_force": intersect})
    #: The dependency groups that only the tests need, and that do not go live.
    test_groups: Ids = ()
    #: The time limit of one run of the tests.
    test_timeout: Limit = 1800.0
    #: `always` tests the live release in each update that finds nothing newer; `changed` only if the result may differ.
    test_live: Literal["changed", "always"] = "changed"
    #: Use the git repository of the project, if the project or a directory above it has a `.git`.
    git: bool = True
    #: Let updates fetch the branch and deploy its new commits, fast-forward only.
    git_pull: bool = True
    #: Push releaser's commits of `uv.lock`; never by force.
    git_push: bool = True
    #: Let git run hooks, filters and other configured commands when releaser calls it.
    git_hooks: bool = once_live(default=False)
    #: The time limit of each call of git.
    git_timeout: Limit = 300.0
    #: The URL of a service for known vulnerabilities with the API of OSV; `none` for no service.
    vulnerability_service: UrlOrNone | None = None
    #: The group of a release's files. The user who runs releaser must be a member.
    unix_group: Name | None = None
    #: Let members of `unix_group` run releaser: they get write access to releases and the state directory.
    group_writable: bool = False
    #: Keep each process on the release on which it started, by a start-up module in each release.
    pin_processes: bool = True
    #: How uv puts files into a release: `clone` shares blocks of the file system, `copy` makes copies.
    link_mode: Literal["clone", "copy"] | None = None


#: Settings that earlier versions had, and what to do instead.
REMOVED = {
    "test_jobs": "Remove it: releaser runs the tests one after the other.",
    "publish": (
        'Remove it. Instead of "branch", set `upgrade = "none"`, and let cron run `releaser propose` after'
        " `releaser update`: it tests upgrades and pushes them to `releaser/update` for review."
    ),
}
#: Settings that have another name now.
RENAMED = {"isolate": "sandbox", "pin": "pin_processes"}
_USUAL: Mapping[Any, values.Kind[Any]] = {bool: values.flag, int: values.count}


def kind_of(declared: Any) -> values.Kind[Any]:
    """Return the kind of values of a type, which may be optional."""
    if type(None) in get_args(declared):
        declared = get_args(declared)[0]
    own = getattr(declared, "__metadata__", None)
    if own or declared in _USUAL:
        return own[0] if own else _USUAL[declared]
    if not (words := get_args(declared)):
        message = f"{declared} does not say how its values are read; see the types at the end of values.py"
        raise TypeError(message)
    return values.one_of(*words)


PARTS: tuple[type[Part], ...] = gather("settings")


class AllSettings(*PARTS, Settings):  # type: ignore[misc]
    """The settings of releaser itself, and of all capabilities."""


_DECLARING: tuple[type[Any], ...] = (Settings, *PARTS)
SPECS = {
    part_field.name: Spec(declared=part_field.type, default=part_field.default, **part_field.metadata)
    for part in _DECLARING
    for part_field in fields(part)
}


def environment_of(host: str) -> str:
    """Guess the environment from the host name: d… and q… are staging, p… is production, any other is local."""
    return {"d": "staging", "q": "staging", "p": "production"}.get(host[:1].lower(), "local")


def this_host() -> str:
    """Return the short name of this host."""
    return os.uname().nodename.partition(".")[0]
