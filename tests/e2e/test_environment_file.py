"""What the site needs in its environment, given in a file: every program of the site gets it, no secret is shown."""

import pytest

from tests.e2e.refusals import refused, unfit, without_override
from tests.support.sites import TESTS, SampleSite, SiteFactory

SECRET = "s3cr3t-of-the-shop"
FILE = f"""\
# What the web server has as well.
; systemd takes this for a comment, too
DJANGO_SETTINGS_MODULE=shop.live
export SHOP_NAME = "The \\"old\\" shop"
SHOP_SECRET_KEY='{SECRET}'
SHOP_DATABASE=postgresql://shop:p4ssw0rd-of-db@db.example.org/shop
SHOP_LITERAL=${{HOME}}/x
ALPHA=from-file
"""


def with_file(make_site: SiteFactory, **settings: object) -> SampleSite:
    site = make_site(venv=True, settings={"environment_file": "../site.env", **settings})
    (site.outer / "site.env").write_text(FILE, encoding="utf-8")
    return site


@pytest.mark.story
def test_everything_that_the_site_runs_gets_it(make_site: SiteFactory) -> None:
    note = "sh -c 'echo $DJANGO_SETTINGS_MODULE >> ../{}'"
    commands = {"restart": note.format("restarted"), "health_check": note.format("asked")}
    site = with_file(make_site, django_check="deploy", **commands)
    site.publish("alpha", "1.1.0")
    site.releaser("update", env={"ALPHA": "from-the-shell"}, check=0)
    for command in ("test", "shell", "collectstatic", "check"):
        env = site.manage_runs(command)[-1].env
        assert (env["DJANGO_SETTINGS_MODULE"], env["SHOP_SECRET_KEY"]) == ("shop.live", SECRET)
        assert env["SHOP_NAME"] == 'The "old" shop'
        assert env["SHOP_LITERAL"] == "${HOME}/x", "nothing is put in"
        assert env["ALPHA"] == "from-file", "the file is laid over the environment"
        assert env["VIRTUAL_ENV"].startswith(str(site.state_dir)), "the release is what decides, all the same"
    for name in ("restarted", "asked"):
        assert "shop.live" in (site.outer / name).read_text(encoding="utf-8").split()
    code = "import os; print(os.environ['DJANGO_SETTINGS_MODULE'])"
    assert site.releaser("run", "--", "python", "-c", code, check=0).stdout.strip() == "shop.live"


def test_no_secret_of_it_is_shown_and_git_and_uv_do_not_get_it(make_site: SiteFactory) -> None:
    site = with_file(make_site)
    site.releaser("init", check=0)
    (site.outer / "site.env").write_text("GIT_SSH_COMMAND=false\nUV_OFFLINE=1\nPATH=/nowhere\n", encoding="utf-8")
    site.update_to("beta", "1.1.0")
    assert site.live_version("beta") == "1.1.0"
    (site.outer / "site.env").write_text(FILE, encoding="utf-8")
    code = "import os; print(dict(os.environ)); raise SystemExit(1)"
    site.push_commit("Chatter", {"run_tests.py": code})
    site.publish("alpha", "1.1.0")
    finished = site.releaser("update", "-v", "--json", check=5)
    logs = [file.read_text(encoding="utf-8") for file in (site.state_dir / "logs").iterdir()]
    shown = "".join([finished.stdout, finished.stderr, *map(str, site.outbox_mails()), *logs])
    assert "SHOP_NAME" in shown
    assert SECRET not in shown
    assert "p4ssw0rd-of-db" not in shown


def test_a_file_that_has_other_lines_or_cannot_be_read_is_a_problem(make_site: SiteFactory) -> None:
    site = make_site(settings={"environment_file": "../site.env"})
    file = site.outer / "site.env"
    file.write_text("A=1\n\nthis is none\nB=2\nC\n", encoding="utf-8")
    found = unfit(site)
    found.says(file, "line 3", "NAME=value")
    found.says(file, "C has no value")
    file.chmod(0)
    refused(site, before=without_override()).says(file, "Permission denied", "environment_file")


def test_no_path_in_it_leads_the_tests_back_to_the_code_that_is_live(make_site: SiteFactory) -> None:
    site = make_site(venv=True, settings={"environment_file": "../site.env"})
    url = f"sqlite:///{site.path}/lib/shop.py"  # is left as it is, as its colon divides no paths
    variables = f"PYTHONPATH={site.path}/lib:/elsewhere\nDATABASE_URL={url}\n"
    (site.outer / "site.env").write_text(variables, encoding="utf-8")
    site.releaser("init", check=0)
    shop = f"import os\nassert os.environ['DATABASE_URL'] == {url!r}\nimport nothing_of_that_name\n"
    site.push_from_elsewhere({"lib/shop.py": shop, TESTS: "import shop\n"})
    finished = site.releaser("update", check=5)
    assert "nothing_of_that_name" in finished.stderr
    assert not (site.path / "lib").exists()
