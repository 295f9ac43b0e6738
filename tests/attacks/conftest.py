"""Users of this machine, and a site of one of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.people import People, a_site, made
from tests.support.sites import SampleSite
from tests.support.templates import Templates


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    """Real users: an owner, a member of the owner's group, a stranger."""
    with made() as found:
        yield found


@pytest.fixture(scope="module")
def owned(people: People, templates: Templates, everybodys: Path) -> SampleSite:
    """A site of the owner's, with two releases."""
    return a_site(people, templates, everybodys)
