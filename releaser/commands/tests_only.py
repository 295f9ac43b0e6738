"""`--tests-only`."""

from __future__ import annotations

from releaser.commands.run_options import RunOption
from releaser.releases.tests_only import TestsOnlySection
from releaser.system.frozen import replace

OPTION = RunOption(
    option="--tests-only",
    parameter="tests_only",
    look={"is_flag": True, "help": "Build and test, and keep the release ready for the next maintenance window."},
    section=lambda value: TestsOnlySection(tests_only=value),
    plan="with --tests-only, nothing would go live: a new release would stay ready",
)
OF_REBUILD = replace(
    OPTION,
    look={"is_flag": True, "help": "Build and test, and keep the release ready until `rebuild` makes it live."},
    command="rebuild",
)
