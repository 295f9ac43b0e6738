"""Projects that are not fit: what real uv says of them, and how it is shown. The table is in the tests of preflight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.refusals import refused, unfit
from tests.e2e.scenes import edit_pyproject

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory


@pytest.mark.story
def test_no_requires_python(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.commit("Lose it", {"pyproject.toml": edit_pyproject(site, 'requires-python = ">=3.11"\n', "")})
    refused(site).says(site.path / "pyproject.toml", "requires-python", 'requires-python = ">=3.11"')


@pytest.mark.parametrize("wanted", [">=99", "banana"])
def test_no_python_fits(make_site: SiteFactory, wanted: str) -> None:
    site = make_site()
    text = edit_pyproject(site, 'requires-python = ">=3.11"', f'requires-python = "{wanted}"')
    site.commit("Want too much", {"pyproject.toml": text})
    unfit(site).says(wanted, "requires-python")
