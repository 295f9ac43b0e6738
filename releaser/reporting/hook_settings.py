"""Settings: commands that releaser runs at certain points."""

from releaser.site.declaring import Part
from releaser.site.values import Command, Limit, PathsInside


class BuildSettings(Part):
    """The command before each build, and its output."""

    #: A command that runs in each staging tree before a candidate is built there.
    before_build: Command | None = None
    #: The files and directories in the project that `before_build` makes and git does not track. They lie in the venv
    #: of each release and go live, and back, with it: in the checkout, each is a symlink through `.venv`. What lies
    #: there before is kept in the state directory, in `output/`. What else the command makes or changes in the staging
    #: tree is refused, except caches and what `staging_omit` names. A bundle does not hold them: the host that installs
    #: it runs `before_build` as well.
    build_output: PathsInside = ()


class HookSettings(Part):
    """Commands that releaser runs at certain points."""

    #: A command that runs before a tested candidate goes live; if it fails, the candidate does not.
    before_live: Command | None = None
    #: A command that runs once a new release is live and well; if it fails, the release stays live.
    after_live: Command | None = None
    #: A command that runs at the end of a run that did not make its release live.
    on_failure: Command | None = None
    #: A command that runs once the site is back on an earlier release.
    on_rollback: Command | None = None
    #: The time limit of each hook.
    hook_timeout: Limit = 300.0
