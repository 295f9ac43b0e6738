"""What is known of versions that failed: who is tried again, who is blamed, and that nothing good is lost meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.scenes import silent
from tests.e2e.test_bad_tools import proxy
from tests.e2e.test_culprits import adopted, live_versions, publish
from tests.e2e.test_newest_that_works import NEEDS_A_WITHOUT_E, held, runs
from tests.e2e.test_unbuildable import publish_unbuildable

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory

QUIET = "def test_shop(packages):\n    assert not any(getattr(one, 'BROKEN', None) for one in packages.values())\n"
GREEN = "def test_shop(packages):\n    pass\n"


def test_what_is_tried_again_is_not_blamed_for_what_another_upgrade_breaks(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b")
    publish(site, "a", broken=("a",))
    site.releaser("update", check=5)
    publish(site, "a", version="1.2.0")
    publish(site, "b", broken=("b",))
    report = site.json("update")
    assert live_versions(site, "ab") == {"a": "1.2.0", "b": "1.0.0"}
    assert (held(report, "a"), held(report, "b")) == ([], ["1.1.0"])


def test_without_any_runs_for_a_search_the_rest_still_goes_live(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", settings={"culprit_runs": 0})
    publish(site, "b", broken=("b",))
    site.releaser("update", check=5)
    publish(site, "a")
    for _ in range(3):
        site.releaser("update")
    assert live_versions(site, "ab") == {"a": "1.1.0", "b": "1.0.0"}


def test_force_tries_a_known_culprit_whatever_the_week_says(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b")
    publish(site, "a", broken=("a",))
    site.releaser("update", check=5)
    for _ in range(2):
        before = runs(site)
        site.releaser("update", "--force", check=5)
        assert runs(site) > before
    silent(site.releaser("update"))


def test_a_site_that_is_ill_holds_nothing_against_what_is_tried_again(make_site: SiteFactory) -> None:
    ill = "import pathlib\ndef test_shop(packages):\n    assert not pathlib.Path('../../ill').exists(), 'no database'\n"
    ill += "    assert not any(getattr(one, 'BROKEN', None) for one in packages.values())\n"
    site = adopted(make_site, "a", "b", files={"site_tests.py": ill})
    publish(site, "a", broken=("a",))
    site.releaser("update", check=5)
    publish(site, "a", version="1.2.0")
    publish(site, "b")
    (site.outer.parent / "ill").touch()
    assert site.json("update", check=5)["blame"] == "before"
    assert held(site.json("status"), "a") == ["1.1.0"]
    (site.outer.parent / "ill").unlink()
    site.releaser("update", check=0)
    assert live_versions(site, "ab") == {"a": "1.2.0", "b": "1.1.0"}


def test_with_a_broken_commit_nothing_is_held_against_what_is_tried_again(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", files={"site_tests.py": QUIET})
    publish(site, "a", broken=("a",))
    site.releaser("update", check=5)
    publish(site, "a", version="1.2.0")
    site.push_from_elsewhere({"site_tests.py": "def test_shop(packages):\n    assert False, 'bad commit'\n"})
    site.releaser("update", check=5)
    assert held(site.json("status"), "a") == ["1.1.0"]
    site.push_from_elsewhere({"site_tests.py": QUIET})
    site.releaser("update", check=0)
    assert live_versions(site, "a") == {"a": "1.2.0"}


def test_what_has_just_passed_is_not_lost_to_what_was_said_of_it(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", "c")
    publish(site, "a", broken=("a",))
    site.releaser("update", check=5)
    site.push_from_elsewhere({"site_tests.py": GREEN})
    publish_unbuildable(site, "c")
    publish(site, "b")
    site.releaser("update", check=0)
    assert live_versions(site, "abc") == {"a": "1.1.0", "b": "1.1.0", "c": "1.0.0"}
    assert held(site.json("status"), "a") == []


def test_a_lower_version_is_not_blamed_for_what_comes_in_with_it(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", files={"site_tests.py": QUIET})
    site.publish("a", "3.0.0", broken=True, requires=["b<2"])
    site.publish("a", "2.0.0")
    publish(site, "b", version="2.0.0", broken=("b",))
    for _ in range(3):
        site.releaser("update")
    assert live_versions(site, "ab") == {"a": "2.0.0", "b": "1.0.0"}


FLAKY = """\
import pathlib
def test_shop(packages):
    assert not any(getattr(one, 'BROKEN', None) for one in packages.values())
    flag = pathlib.Path("../../flaky")
    if packages["a"].__version__ == "1.5.0" and flag.exists():
        flag.unlink()
        assert False, "the network was slow"
"""


def test_a_lower_version_is_not_held_for_a_test_that_fails_at_times(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", files={"site_tests.py": FLAKY})
    (site.outer.parent / "flaky").touch()
    publish(site, "a", version="1.5.0")
    publish(site, "a", version="2.0.0", broken=("a",))
    site.releaser("update", check=0)
    assert live_versions(site, "a") == {"a": "1.5.0"}


def test_what_passes_goes_live_though_its_requirement_cannot_be_found_out(make_site: SiteFactory) -> None:
    site = adopted(make_site, *"abcdef", files={"site_tests.py": GREEN})
    publish(site, *"abcdef")
    site.push_from_elsewhere({"site_tests.py": NEEDS_A_WITHOUT_E})
    count = site.outer / "count"
    gone = f'echo >> {count}; [ $(wc -l < {count}) -gt 8 ] && {{ echo "error: gone" >&2; exit 2; }}'
    report = site.json("update", env=proxy(site, "' --no-install-local --link-mode '", gone))
    assert live_versions(site, "abcdef") == dict.fromkeys("abcdf", "1.1.0") | {"e": "1.0.0"}
    assert report["exit_code"] == 0
