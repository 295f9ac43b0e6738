"""The code of the checkout moves by a change alone: with restart, health, products and mail."""

import pytest

from tests.e2e.scenes import says, silent
from tests.support.sites import SampleSite, SiteFactory

MAKE = {"before_build": "cp edition.txt made.ignored"}


@pytest.fixture
def apart(make_site: SiteFactory) -> SampleSite:
    """A site whose first release is live on the second edition of the code, by `rollback --keep-code`."""
    site = make_site.live(files={"edition.txt": "1\n"}, settings=MAKE)
    site.push_from_elsewhere({"edition.txt": "2\n"})
    site.releaser("update", check=0)
    site.releaser("rollback", "--keep-code", check=0)
    assert editions(site) == ("2\n", "2\n")
    site.push_from_elsewhere({"edition.txt": "1\n"}, message="Revert")
    return site


def editions(site: SampleSite) -> tuple[str, str]:
    """Return the edition of the code, and the one of which the product was made."""
    return (site.path / "edition.txt").read_text(encoding="utf-8"), (site.path / "made.ignored").read_text("utf-8")


@pytest.mark.slow
def test_law_03_a_revert_after_keep_code_moves_code_and_products_with_a_restart(apart: SampleSite) -> None:
    site, live, restarted = apart, apart.live(), apart.restarted_at()
    assert "is live, and not built again" in site.json("update", "--dry-run")["headline"]
    silent(site.releaser("update", "--prepare"))
    assert (editions(site), site.restarted_at()) == (("2\n", "2\n"), restarted)
    answer = site.json("update", check=0)
    assert (answer["result"], answer["release"], answer["changes"]) == ("updated", live, [])
    assert [step["step"] for step in answer["steps"]][-4:] == ["flip", "restart", "publish", "prune"]
    assert (editions(site), site.live(), site.restarted_at() != restarted) == (("1\n", "1\n"), live, True)
    silent(site.releaser("update"))
    assert site.json("status")["well"]


@pytest.mark.slow
def test_law_03_a_revert_that_does_not_restart_goes_back_and_is_on_hold(apart: SampleSite) -> None:
    site, live, head = apart, apart.live(), apart.head()
    site.write_dotenv(restart="sh -c 'test $(cat edition.txt) = 2'")
    says(site.releaser("update", check=6), site.remote_head()[:12], live)
    assert (editions(site), site.live(), site.head()) == (("2\n", "2\n"), live, head)
    assert [hold["kind"] for hold in site.json("status", check=10)["on_hold"]] == ["commit"]
    site.releaser("update", check=0)  # on the code that is there, built and tested
    assert (editions(site), site.live() != live) == (("2\n", "2\n"), True)
    silent(site.releaser("update"))


@pytest.mark.slow
def test_law_03_a_revert_of_a_commit_that_a_person_pulled_restarts_the_site(make_site: SiteFactory) -> None:
    site = make_site.live(files={"edition.txt": "1\n"}, settings=MAKE)
    live, restarted = site.live(), site.restarted_at()
    site.push_from_elsewhere({"edition.txt": "2\n"})
    site.git("pull", "--quiet")
    site.push_from_elsewhere({"edition.txt": "1\n"})
    assert site.json("update")["result"] == "updated"
    assert (editions(site), site.live(), site.restarted_at() != restarted) == (("1\n", "1\n"), live, True)


@pytest.mark.slow
def test_law_05_a_rollback_to_the_live_release_takes_its_code_back(apart: SampleSite) -> None:
    site, live, restarted = apart, apart.live(), apart.restarted_at()
    assert site.json("rollback", live, "--keep-code")["result"] == "no-changes"
    assert site.json("rollback", live)["result"] == "updated"
    assert (editions(site), site.live(), site.restarted_at() != restarted) == (("1\n", "1\n"), live, True)


@pytest.mark.slow
def test_law_05_06_a_release_goes_back_to_its_own_code_although_a_person_pulled_meanwhile(
    make_site: SiteFactory,
) -> None:
    """While the site restarts, a colleague pushes a fifth edition, and a person pulls it."""
    site = make_site.live(files={"edition.txt": "1\n"}, settings=MAKE)
    site.push_from_elsewhere({"edition.txt": "2\n"})
    clone = site.elsewhere()
    (clone / "edition.txt").write_text("5\n", encoding="utf-8")
    site.git("commit", "--quiet", "--all", "--message", "Fifth", cwd=clone)
    site.write_dotenv(restart=f"sh -c 'git -C {clone} push --quiet; git pull --quiet'")
    site.releaser("update", check=0)
    site.write_dotenv()
    second = site.live()
    site.releaser("update", check=0)
    assert (site.live() != second, editions(site)) == (True, ("5\n", "5\n"))
    site.releaser("rollback", check=0)
    assert (site.live(), editions(site)) == (second, ("2\n", "2\n"))
    site.releaser("update", check=0)  # the commit that was left is on hold
    assert (site.live(), editions(site)) == (second, ("2\n", "2\n"))


@pytest.mark.slow
def test_law_03_the_next_release_keeps_a_product_of_code_that_was_kept(make_site: SiteFactory) -> None:
    """The live release has no products; what lies in the checkout is that of the release that was left."""
    site = make_site.live(files={"edition.txt": "1\n"})
    site.write_dotenv(before_build="sh -c 'test ! -e make || cp edition.txt made.ignored'")
    site.push_from_elsewhere({"edition.txt": "2\n", "make": ""})
    site.update_to("1.1.0")
    site.releaser("rollback", "--keep-code", check=0)
    site.releaser("unhold", "--all", check=0)
    site.update_to("1.2.0")
    assert (editions(site), site.json("verify")["well"]) == (("2\n", "2\n"), True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["made.ignored", "other.ignored"])
def test_law_03_products_go_back_with_the_code_although_one_was_deleted(make_site: SiteFactory, name: str) -> None:
    settings = {"before_build": "sh -c 'cp edition.txt made.ignored; cp edition.txt other.ignored'"}
    site = make_site.live(files={"edition.txt": "1\n"}, settings=settings)
    site.push_from_elsewhere({"edition.txt": "2\n"})
    site.releaser("update", check=0)
    site.releaser("rollback", "--keep-code", check=0)
    (site.path / name).unlink()
    site.push_from_elsewhere({"edition.txt": "1\n"}, message="Revert")
    site.releaser("update", check=0)
    assert (editions(site), (site.path / "other.ignored").read_text("utf-8")) == (("1\n", "1\n"), "1\n")
