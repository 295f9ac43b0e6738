"""The facts of a run that is asked for tests only."""

from __future__ import annotations

from typing import ClassVar

from releaser.system.sections import Section


class TestsOnlySection(Section):
    """The request of `--tests-only`."""

    __test__: ClassVar[bool] = False  # pytest would collect it
    limits_update: ClassVar[bool] = True
    #: True with `--tests-only`: the run made nothing live.
    tests_only: bool = False
