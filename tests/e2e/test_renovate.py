"""docs/renovate.md: a proposal of Renovate is a branch with another uv.lock; a person merges it."""

import json
import re
import tomllib

import pytest

from tests.e2e.scenes import changes
from tests.e2e.test_audit import use_service
from tests.support.commands import HOUSE, releaser_command
from tests.support.servers import advisory_service
from tests.support.sites import SampleSite, SiteFactory

GUIDE = (HOUSE / "docs/renovate.md").read_text(encoding="utf-8")
_FENCE = re.compile(r'^```(\w+) title="([^"\n]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
BLOCKS = {title: text for _, title, text in _FENCE.findall(GUIDE)}


def read_settings(title: str) -> dict[str, str]:
    """Return the settings of a block of the guide, as `.env` has them."""
    table = tomllib.loads(BLOCKS[title])["tool"]["releaser"]
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in table.items()}


def merge_proposal(site: SampleSite, name: str) -> None:
    """Do what Renovate does for a package, merge it, and push."""
    clone = site.elsewhere()
    site.git("switch", "--quiet", "--create", f"renovate/{name}", cwd=clone)
    site.uv("lock", "--quiet", "--upgrade-package", name, cwd=clone)
    site.git("commit", "--quiet", "--all", "--message", f"Update dependency {name}", cwd=clone)
    site.git("switch", "--quiet", "main", cwd=clone)
    site.git("merge", "--quiet", "--ff-only", f"renovate/{name}", cwd=clone)
    site.git("branch", "--quiet", "--delete", f"renovate/{name}", cwd=clone)
    site.git("push", "--quiet", cwd=clone)


@pytest.mark.slow
def test_law_17_a_merged_proposal_goes_live_through_the_tests_and_the_rest_is_releasers(make_site: SiteFactory) -> None:
    site = make_site(packages={"cake": "1.0.0"})
    site.publish("water", "1.0.0")
    site.publish("tea", "1.0.0", requires=["water"])
    site.replace("pyproject.toml", '["cake"]', '["cake>=1,<2", "tea>=1,<2"]')
    site.push_commit("Tea", lock=True)
    site.releaser("init", check=0)
    site.env["PATH"] = f"{releaser_command()[0].rpartition('/')[0]}:{site.env['PATH']}"

    for name in ("cake", "water"):
        site.publish(name, "1.1.0")
    site.publish("tea", "1.1.0", requires=["water"])
    merge_proposal(site, "tea")
    site.write_dotenv(None, **read_settings("Renovate moves everything"))
    assert changes(site.json("update")) == {"tea": ("1.0.0", "1.1.0")}

    site.publish("cake", "1.2.0", broken=True)
    merge_proposal(site, "cake")
    live = site.live()
    site.releaser("update", check=5)
    assert site.live() == live
    site.run("sh", "-eux", "-c", BLOCKS["in your clone"], cwd=site.elsewhere())
    site.run("sh", "-eux", "-c", BLOCKS["on the host, or wait for the night"])
    assert (site.live(), site.head()) == (live, site.remote_head())

    site.publish("water", "1.2.0")
    with advisory_service() as service:
        service.add("water", "GHSA-1", ("1.0.0",), "1.1.0")
        use_service(site, service, **read_settings("releaser moves fixes"))
        assert changes(site.json("update")) == {"water": ("1.0.0", "1.1.0")}

    site.publish("tea", "1.2.0", requires=["water"])
    site.write_dotenv(None, **read_settings("releaser moves the rest"))
    assert changes(site.json("update")) == {"water": ("1.1.0", "1.2.0")}
    merge_proposal(site, "tea")
    assert changes(site.json("update")) == {"tea": ("1.1.0", "1.2.0")}
    assert site.remote_head() == site.head(), "a merge needs no commit of releaser"
