"""Each action that is registered is undone, done again or done for the previous release by the run after a kill."""

import pytest

from releaser.checkout.pull import code_of_release
from releaser.core import change
from releaser.core.action import Action
from releaser.core.change import Deployment, make_live
from releaser.core.run import Run
from releaser.errors import ActivationError, ToolError
from releaser.pipelines.recovery import recover
from releaser.releases.journal import Entry, Journal, journal_of
from releaser.releases.store import store_of
from releaser.site.site import Site, find_site
from tests.support.logs import a_log
from tests.support.sites import SampleSite, SiteFactory

pytestmark = pytest.mark.slow

#: The methods that a change calls on its way to the other release, and those of the way back.
THERE, BACK = ("record", "prepare", "do"), ("leave", "do", "do_for_previous")
CASES = [
    (action, way, method)
    for action in change.ACTIONS
    for way, methods in (("there", THERE), ("back", BACK))
    for method in methods
    # `after_live` is no part of a rollback, and on the way back only those count that cause a rollback. Settings that
    # stop the service exclude a test start.
    if method in vars(type(action))
    and action.name not in ("after_live", "test start")
    and (action.causes_rollback or way == "there")
]
LAST_STEP = [one for one in change.ACTIONS if one.is_step][-1]
SERVICE = "sh -c 'echo {0} >> ../service'"
SETTINGS = {
    "stop": SERVICE.format("stop"),
    "start": SERVICE.format("start"),
    "health_check": "true",
    "after_live": "true",
    "on_rollback": "true",
}


class KilledError(Exception):
    """What stands for a kill: nothing in a change catches it."""


def both_ways(site: SampleSite) -> None:
    """Let a rollback have a package and a commit to take back."""
    site.publish("alpha", "1.1.0")
    site.push_from_elsewhere({"notes.txt": "news"})
    site.releaser("update", check=0)


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    site = make_site.adopted(prepare=both_ways, settings=SETTINGS)
    (site.outer / "service").unlink(missing_ok=True)
    return site


def go_back(here: Site) -> None:
    """Make the earlier of two releases live."""
    live = store_of(here).live()
    assert live is not None
    (earlier,) = (one for one in store_of(here).all() if one.id != live.id)
    link = here.project.venv.readlink().as_posix()
    code = code_of_release(here, earlier)
    make_live(here, a_log(), Deployment(release=earlier, target=code, link=link, goes_back=True))


def whole(site: SampleSite, *, is_back: bool) -> dict[str, str]:
    """See that all parts of the site are of one release; return what anybody sees of it."""
    version, static = ("1.0.0" if is_back else "1.1.0"), (site.static_versions() or {})["alpha"]
    assert (site.live_version("alpha"), static) == (version, version)
    assert f'name = "alpha"\nversion = "{version}"' in site.lock_text()
    assert (site.path / "notes.txt").exists() != is_back
    assert site.git("status", "--porcelain") in ("", "M uv.lock")
    calls = (site.outer / "service").read_text(encoding="utf-8").split() if (site.outer / "service").exists() else []
    assert calls[-1:] in ([], ["start"]), calls
    return {name: what for name, what in site.snapshot().items() if name != "(restarted at)"}


def fail(*_: object) -> None:
    message = "the last action fails"
    raise ToolError(message)


@pytest.mark.spread(6)
@pytest.mark.parametrize(("action", "way", "method"), CASES, ids=lambda one: getattr(one, "name", one))
def test_a_kill_after_each_call_leaves_a_site_that_the_next_run_makes_whole(
    site: SampleSite, monkeypatch: pytest.MonkeyPatch, action: Action, way: str, method: str
) -> None:
    here, before = find_site(site.path, site.env), whole(site, is_back=False)
    original = getattr(action, method)
    turned_back: list[bool] = []

    def killed(*args: object) -> None:
        original(*args)
        if way == "there" or turned_back:
            raise KilledError

    with monkeypatch.context() as patch:
        if way == "back":
            take_back = Journal.write_on_full_disk

            def turning(journal: Journal, entry: Entry) -> None:
                if entry.phase == "reverting":
                    turned_back.append(True)
                take_back(journal, entry)

            patch.setattr(Journal, "write_on_full_disk", turning)
            patch.setattr(LAST_STEP, "do", fail)
            patch.setattr(LAST_STEP, "causes_rollback", True)
        patch.setattr(action, method, killed)
        with pytest.raises((KilledError, ActivationError)):
            go_back(here)
    flipped = way == "there" and method == "do"
    recover(Run(site=find_site(site.path, site.env), log=a_log()))
    after = whole(site, is_back=flipped)
    assert flipped or after == before
    entry = journal_of(here).read()
    assert entry is None or entry.phase == "reporting"
    recover(Run(site=find_site(site.path, site.env), log=a_log()))
    assert whole(site, is_back=flipped) == after
