"""Settings: commands that releaser runs at certain points."""

from releaser.site.declaring import Part, once_live
from releaser.site.values import Command, Limit, PathsInside
from releaser.system.frozen import field


class BuildSettings(Part):
    """The command before each build, and its output."""

    #: A command that runs in each staging tree before a candidate is built there.
    before_build: Command | None = once_live(default=None)
    #: The untracked files and directories that `before_build` makes. They are part of the release; in the checkout,
    #: each is a symlink through `.venv`. Earlier files there move to `output/` in the state directory.
    build_output: PathsInside = field(default=(), metadata={"in_force_with": "before_build"})


class HookSettings(Part):
    """Commands that releaser runs at certain points."""

    #: A command that runs before a tested candidate goes live; if it fails, the candidate does not.
    before_live: Command | None = once_live(default=None)
    #: A command that runs once a new release is live and well; if it fails, the release stays live.
    after_live: Command | None = None
    #: A command that runs at the end of a run that did not make its release live.
    on_failure: Command | None = None
    #: A command that runs once the site is back on an earlier release.
    on_rollback: Command | None = None
    #: The time limit of each hook.
    hook_timeout: Limit = 300.0
