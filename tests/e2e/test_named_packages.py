"""`update NAME...` brings these packages and what they need, and leaves all others as they are."""

from tests.e2e.scenes import outer_snapshot
from tests.e2e.test_many_sites import answers, releaser, sites_file
from tests.support.sites import SiteFactory


def test_only_what_is_named_comes_in_with_what_it_needs(make_site: SiteFactory) -> None:
    site = make_site.adopted(packages={"alpha": "1.0.0", "beta": "1.0.0", "gamma": "1.0.0"})
    site.publish("gamma", "1.1.0")
    site.publish("gamma", "1.2.0")
    site.publish("beta", "2.0.0")
    site.publish("alpha", "1.1.0", requires=["gamma>=1.1"])
    before = outer_snapshot(site)
    for words, said in (
        (["alpah"], "alpah is not in uv.lock"),
        (["alpha", "alpha[old]"], "'alpha[old]' is not the name of a package"),
        (["sample-site"], "is part of the checkout"),
        (["alpha", "--if-due"], "--if-due cannot be combined with NAME"),
        (["alpha", "--override", "beta==1.0.0"], "NAME cannot be combined with --override"),
        (["--if-locked"], "Name the packages"),
    ):
        assert said in site.releaser("update", *words, check=2).stderr
    plan = site.json("update", "Alpha", "--dry-run")
    assert {one["name"] for one in plan["changes"]} == {"alpha", "gamma"}
    assert outer_snapshot(site) == before
    report = site.json("update", "Alpha")
    assert report["only"] == ["alpha"]
    assert {one["name"] for one in report["changes"]} == {"alpha", "gamma"}
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.1.0", "1.0.0")
    assert "update alpha" in site.releaser("history", check=0).stdout
    status = site.json("status")
    assert (status["last_change"]["only"], status["last_success"]) == (["alpha"], None)
    assert ", update alpha: updated to" in site.releaser("status", check=0).stdout
    site.releaser("hold", "beta", check=0)
    held = site.json("update", "beta")
    assert (held["result"], [one["by"] for one in held["on_hold"]]) == ("no-changes", ["person"])
    site.releaser("unhold", "beta", check=0)
    assert {one["name"] for one in site.json("update")["changes"]} >= {"beta"}
    assert site.json("status")["last_success"]["only"] == []


def test_only_what_is_named_is_blamed_and_kept_out(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0", broken="import")
    site.publish("beta", "2.0.0", broken="import")
    report = site.json("update", "alpha", check=5)
    assert [one["name"] for one in site.json("status")["on_hold"]] == ["alpha"]
    assert report["culprits"] == ["alpha 1.1.0"]
    assert site.json("update", "alpha")["result"] == "no-changes"
    site.json("update", "alpha", "--force", check=5)


def test_of_many_sites_those_without_the_package_are_left_alone(make_site: SiteFactory) -> None:
    one = make_site.adopted(name="one", outer="a")
    two = make_site.adopted(name="two", outer="b", packages={"beta": "1.0.0"})
    for site, name in ((one, "alpha"), (one, "beta"), (two, "beta")):
        site.publish(name, "1.1.0")
    found = answers(one, "update", "alpha", "--sites", sites_file([one, two], first=[two]), check=0)
    assert found["one"]["answer"]["result"] == "updated"
    assert (found["two"]["exit_code"], found["two"]["answer"]["headline"]) == (0, "not installed: alpha")
    assert (one.live_version("beta"), two.live_version("beta")) == ("1.0.0", "1.0.0")
    misspelled = releaser(one, "update", "alpah", "--sites", sites_file([one, two]), check=0)
    assert (misspelled.stdout, misspelled.stderr) == ("", "warning: no site has alpah\n")


def test_the_packages_of_all_sites_are_in_one_table(make_site: SiteFactory) -> None:
    one, two = make_site.adopted(name="one", outer="a"), make_site.adopted(name="two", outer="b")
    one.update_to("alpha", "1.1.0")
    two.publish("beta", "1.1.0")
    file = sites_file([one, two])
    heading, *lines = releaser(one, "packages", "--offline", "--sites", file, check=0).stdout.splitlines()
    assert heading.split() == ["PACKAGE", "VERSION", "NEWER", "VULNERABLE", "SITES"]
    cells = [line.split() for line in lines]
    assert [[*row[:2], " ".join(row[4:])] for row in cells if row[0] in ("alpha", "beta")] == [
        ["alpha", "1.0.0", "two"],
        ["alpha", "1.1.0", "one"],
        ["beta", "1.0.0", "all 2"],
    ]
    names = {row["name"] for row in answers(one, "packages", "--offline", "--sites", file, check=0)["two"]["answer"]}
    assert names >= {"alpha", "beta"}
    done = releaser(one, "packages", "--offline", "--sites", file, "previous", check=9)  # one site has none
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("alpha")] == [["alpha", "1.0.0"]]
    assert done.stderr.startswith(f"{two.path}: there is no release 'previous'")
    assert done.stderr.endswith("(exit code 9)\n")
    lines = releaser(one, "outdated", "--sites", file, check=0).stdout.splitlines()
    assert [line.split() for line in lines if line.startswith("beta")] == [
        ["beta", "1.0.0", "1.1.0", "nothing;", "the", "next", "update", "installs", "it", "two"]
    ]
