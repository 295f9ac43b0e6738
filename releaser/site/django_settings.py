"""Settings: static files, checks and migrations of Django."""

from pathlib import Path
from typing import Literal

from releaser.site.declaring import Part, once_live
from releaser.site.values import Command, Limit
from releaser.system.sections import Facts, Section


def is_django(project: Path) -> bool:
    """True if this project has a manage.py."""
    return (project / "manage.py").is_file()


class StaticSettings(Part):
    """Static files."""

    #: Collect static files: after the flip or, if the code changes, before it.
    collectstatic: Literal["auto", "on", "off"] = "auto"
    #: The time limit of collectstatic.
    collectstatic_timeout: Limit = 600.0
    #: A command that runs right after collectstatic, for example to compress files; its failure counts as a failure
    #: of collectstatic.
    after_static: Command | None = once_live(default=None)

    def asks(self, root: Path) -> bool:
        """True if Django is asked for static files, in a project at `root`."""
        return self.collectstatic != "off" and is_django(root)


class CheckSettings(Part):
    """`manage.py check --deploy`."""

    #: `deploy` requires that `manage.py check --deploy` passes with a candidate, before its tests.
    django_check: Literal["off", "deploy"] = "off"
    #: The lowest message level at which `check --deploy` fails.
    django_check_level: Literal["error", "warning"] = "error"


class MigrationSettings(Part):
    """Migrations."""

    #: `report` names unapplied migrations; `refuse` makes the candidate wait for them; `off` does not check.
    #: releaser never applies migrations.
    migrations: Literal["report", "refuse", "off"] = "report"


class MigrationsSection(Section):
    """Migrations."""

    #: Those that the release brings and that are not applied.
    migrations: tuple[str, ...] = ()


class MigrationFacts(Facts):
    """Migrations."""

    #: Its new migrations that were not applied when it was sealed.
    migrations: tuple[str, ...] = ()
