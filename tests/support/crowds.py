"""Many small sites on one host, made from one: each has its own checkout and state, and they share an index."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.sites import SampleSite

_TESTS = """\
from unittest import TestCase

class Site(TestCase):
    def test_packages(self):
        import alpha, beta
"""

TESTS = "test_site.py"
#: Of the site that is copied, beside `prepare=without_django`.
OPTIONS: Mapping[str, Any] = {
    "settings": {"test_command": ["python", "-m", "unittest", TESTS], "restart": "none"},
    "files": {TESTS: _TESTS},
}


def without_django(site: SampleSite) -> None:
    """Let nothing of a site remain but a test: that is what is quick."""
    site.git("rm", "--quiet", "manage.py", "site_settings.py")
    site.git("commit", "--quiet", "--message", "Do without Django")
    site.push()
    site.releaser("update", check=0)


def make_crowd(site: SampleSite, base: Path, count: int) -> list[SampleSite]:
    """Copy an adopted site so often; what `site` offers from then on, it offers to all."""
    sites = [site.copy(base / f"{number:02}") for number in range(count)]
    for one in sites:
        shutil.rmtree(one.index.path)
        one.index.path.symlink_to(site.index.path)
        one.write_dotenv()
    return sites


def crowd_environment(site: SampleSite) -> dict[str, str]:
    """Return the environment of one that is for all: nobody records what is run."""
    return site.environment({"SAMPLE_SITE_RUNS": None})


def write_sites(file: Path, sites: Sequence[SampleSite], *, first: Sequence[SampleSite] = (), more: str = "") -> Path:
    """Name these sites in a file; `more` stands before all of them."""
    entries = "".join(f'[[site]]\npath = "{site.path}"\n' for site in sites)
    file.write_text(f"first = {json.dumps([str(one.path) for one in first])}\n{more}\n{entries}", encoding="utf-8")
    return file
