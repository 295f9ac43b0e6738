"""Whether the tests and builds of a site run in a sandbox, and whether it is known that they can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from releaser.errors import BuildError
from releaser.releases.journal import read_notes
from releaser.system.isolation import find_isolation

if TYPE_CHECKING:
    from releaser.site.site import Site
    from releaser.system.isolation import Isolation

What = Literal["tests", "builds", "own builds"]  # the last are those of the project's own packages
WORKS = "isolation works for"  # in what a run remembers
_NOT_THERE = 'Install bubblewrap, or set `isolate` to another way, or to "auto".'


def isolation_of(site: Site, what: What = "tests") -> Isolation | None:
    """Return what isolates the tests or builds of a site; None if nothing does, or if these cannot be done so.

    Raises BuildError where the way that is set does not work here.
    """
    wanted = site.settings.isolate
    if wanted == "off" or site.runner.remembered.get((WORKS, what)) == "no":
        return None
    found = find_isolation(wanted, site.runner)
    if isinstance(found, str):
        if wanted == "auto":
            return None
        message = f'`isolate = "{wanted}"`: {found}'
        raise BuildError(message, advice=_NOT_THERE)
    if wanted != "auto":
        return found
    question = (WORKS, way := way_of(site, found, what))  # asked often, and no other run answers it meanwhile
    if question not in site.runner.remembered:
        site.runner.remembered[question] = "no" if way in read_notes(site.state_dir).not_isolated else "perhaps"
    return None if site.runner.remembered[question] == "no" else found


def is_in_question(site: Site, what: What = "tests") -> bool:
    """Whether the tests, or the builds, run in isolation, and it is not known that this works for the site."""
    if site.settings.isolate != "auto" or (WORKS, what) in site.runner.remembered:
        return False
    isolation = isolation_of(site, what)
    return isolation is not None and way_of(site, isolation, what) not in read_notes(site.state_dir).isolated


def way_of(site: Site, isolation: Isolation, what: What) -> str:
    """Return what it is noted under whether something works in isolation: how it is isolated, and what is done."""
    settings = site.settings
    command = (settings.test_command or ()) if what == "tests" else ()
    return " ".join((isolation.kind, what, *command, *settings.test_writable))
