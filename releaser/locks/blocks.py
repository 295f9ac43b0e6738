"""Reasons why updates skip a package or a version."""

from __future__ import annotations

from releaser.system.frozen import Frozen


class Block(Frozen):
    """A version that may not come in, or, without one, a package of which nothing newer may; by what, and why."""

    name: str
    version: str = ""
    reason: str
    #: `person`, `activation` if it was rolled back, `tests` if they fail with it, `undecided` if a search ended before
    #: the cause was known; or the rule that says so: `ignore`, `policy`, `age`, `constraint`, `downgrade`.
    by: str = "activation"
    #: Since when, as ISO 8601, if that is known.
    since: str = ""
    #: The release whose tests failed, which `show` describes; empty where there is none.
    release: str = ""
    #: The tests that failed.
    tests: tuple[str, ...] = ()
    #: What comes only together with it, such as `celery 5.6.0`.
    together: tuple[str, ...] = ()
    #: The end of what the tests printed with it.
    output: str = ""
