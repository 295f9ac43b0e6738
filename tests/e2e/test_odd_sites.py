"""Large, odd and half-done sites: each of these once went wrong."""

import json
import re
from pathlib import Path

import pytest

from tests.e2e.scenes import BROKEN_CODE, CODE, refused, says
from tests.support.sites import SampleSite, SiteFactory

pytestmark = pytest.mark.slow


def test_law_03_a_broken_commit_of_a_large_repository_is_tested(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.push_commit("Pages", {f"pages/{number:05}-{'x' * 60}.txt": "" for number in range(6000)})
    site.releaser("update", check=0)
    live = site.live()
    site.push_from_elsewhere({**BROKEN_CODE, "a.txt": "first in the list"})
    says(site.releaser("update", check=5), "the shop is closed")
    assert site.live() == live


def test_law_33_git_s_encoding_changes_no_name(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.git("config", "i18n.logOutputEncoding", "latin1")
    commit = site.push_from_elsewhere(CODE, message="Grün")
    assert [line.split() for line in site.json("update")["new_commits"]] == [[commit[:7], "Grün"]]


def test_law_19_an_edited_live_venv_is_not_overruled(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0", due="1.2.0")
    site.publish("hotfix", "1.0.0")
    site.uv("pip", "install", "--quiet", "--no-index", "--find-links", site.index, "--python", site.link, "hotfix")
    says(refused(site, "update"), "hotfix 1.0.0", "releaser update --force")
    site.releaser("update", "--force", check=0)
    assert site.version("alpha") == "1.2.0"


def test_law_19_init_refuses_a_link_of_a_person(make_site: SiteFactory) -> None:
    (site := make_site()).link.symlink_to("../elsewhere")
    says(refused(site, "init"), "../elsewhere", f"rm {site.link}")


def test_law_08_a_checkout_that_stops_half_way_is_put_back(make_site: SiteFactory) -> None:
    """A required filter ends git after it has written a part of the files."""
    site = make_site.live()
    site.push_from_elsewhere({"a.txt": "new", "z.txt": "new", ".gitattributes": "z.txt filter=broken\n", **CODE})
    site.git("config", "filter.broken.required", "true")
    site.git("config", "filter.broken.smudge", f"test $PWD != {site.path}")
    before, finished = site.head(), site.releaser("update")
    assert finished.returncode in {3, 4}, str(finished)
    assert (site.head(), site.status(), Path(site.path, "a.txt").exists()) == (before, "", False)


def test_law_08_a_lock_over_half_a_megabyte_is_committed_and_gone_back_from(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    lock = site.path / "uv.lock"
    lock.write_text("#\n" * 300_000 + lock.read_text(encoding="utf-8"), encoding="utf-8")
    site.push_commit("A long lock")
    site.releaser("update", check=0)
    site.releaser("rollback", check=0)
    assert site.version("alpha") == "1.0.0"


@pytest.mark.met("two sites in one checkout", "coolify #69", "the-zoo #258", "tournesol #184", "vercel #2045")
def test_law_03_the_code_of_another_site_in_the_checkout_does_not_move(make_site: SiteFactory) -> None:
    """The other project is no site here until it has a venv; a member of a workspace has no lock of its own."""
    pyproject = '[project]\nname = "blog"\nversion = "0"\nrequires-python = ">=3.11"\n'
    files = {"blog/pyproject.toml": pyproject, "blog/uv.lock": "version = 1\n", "blog/app.py": "EDITION = 1\n"}
    site = make_site.live(files=files, due="1.1.0")
    site.push_from_elsewhere({"shop.py": "EDITION = 2\nBROKEN = False\n"})
    site.releaser("update", check=0)
    site.push_from_elsewhere({"blog/app.py": "EDITION = 2\n"})
    site.releaser("update", check=0)
    blog = site.path / "blog"
    site.run("python3", "-m", "venv", "--without-pip", blog / ".venv")
    for command, code in (("update", 3), ("check", 3), ("rollback", 3)):
        says(finished := refused(site, command, code=code), blog, "git clone", f"rm -r {blog}/.venv")
    site.run("sh", "-c", *re.findall("`(git clone .+?)`", finished.stderr))
    assert (site.outer / "site-blog" / "blog" / "app.py").read_text("utf-8") == "EDITION = 2\n", "of the remote"
    says(site.releaser("init", project=blog, check=3), site.path / ".venv", "git clone")
    says(refused(site, "rollback"), "--keep-code")
    site.releaser("rollback", "--keep-code", check=0)
    site.run("rm", "-r", blog / ".venv")
    site.releaser("update", check=0)


def test_law_28_a_member_of_a_workspace_names_its_root(make_site: SiteFactory) -> None:
    """Its lock and its venv are those of the root, which is no other site."""
    site = make_site()
    site.replace("pyproject.toml", "[tool.uv]", '[tool.uv.workspace]\nmembers = ["apps/*"]\n\n[tool.uv]')
    site.edit("apps/web/pyproject.toml", '[project]\nname = "shop-web"\nversion = "0"\nrequires-python = ">=3.11"\n')
    for command in ("check", "init"):
        finished = site.releaser(command, project=site.path / "apps" / "web", check=3)
        says(finished, f"workspace `{site.path}`", 'members = ["shop-web"]')
        assert "rm -r" not in finished.stderr


def test_law_09_a_state_directory_in_the_repository_is_named(make_site: SiteFactory) -> None:
    site = make_site(settings={"state_dir": ".state"})
    says(site.releaser("init", check=0), "git clean -fdx", site.path / ".state")
    assert "git clean -fdx" in str(site.json("check")["hints"])
    site.git("clean", "-fdq")  # as it advises
    assert site.json("verify")["well"]


def test_check_names_a_test_command_without_its_program(site: SampleSite) -> None:
    """A hint, no refusal: a package of the next release may bring the program."""
    tool = site.outer / "tools" / "run-them"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexec python run_tests.py\n", "utf-8")
    said = {"no-such-program --all": "calls the program `no-such-program`", "../tools/run-them": f"chmod +x {tool}"}
    for command, words in said.items():
        site.write_dotenv(test_command=command)
        assert words in str(site.json("check", check=0)["hints"])
    tool.chmod(0o755)
    variables = {"RELEASER_TEST_ENVIRONMENT": json.dumps({"PATH": f"{tool.parent}:{site.env['PATH']}"})}
    for there in ("sh run.sh", "python run_tests.py", "../tools/run-them", "run-them"):
        site.write_dotenv(variables if there == "run-them" else {}, test_command=there)
        assert "test_command" not in str(site.json("check", check=0)["hints"])


#: Why a first lock does not fit this host, and the advice.
UNFIT = {
    "environments = [\"sys_platform == 'win32'\"]": ("supported environments", "Add this platform"),
    "": ("wheel for the current platform", "a marker, such as"),
}


@pytest.mark.slow
@pytest.mark.parametrize("setting", UNFIT)
def test_law_28_37_a_first_lock_of_another_platform_is_named_before_the_first_release(
    fresh: SampleSite, setting: str
) -> None:
    fresh.replace("pyproject.toml", "[tool.uv]\n", f"[tool.uv]\n{setting}\n")
    if not setting:
        fresh.publish("winonly", "1.0")
        wheel = next(fresh.index.glob("winonly-*"))
        wheel.rename(wheel.with_name("winonly-1.0-py3-none-win_amd64.whl"))
        fresh.replace("pyproject.toml", '["alpha"', '["winonly", "alpha"')
    fresh.push_commit("For Windows", lock=True)
    for command in ("check", "init", "update --dry-run", "update"):
        finished = fresh.releaser(*command.split(), check=4)
        assert all(words in finished.stdout + finished.stderr for words in UNFIT[setting]), finished
    pyproject = (fresh.path / "pyproject.toml").read_text("utf-8")
    fitting = pyproject.replace("win32", "linux").replace('"winonly"', '"beta"')
    fresh.push_from_elsewhere({"pyproject.toml": fitting}, lock=True)
    for command in ("check", "update --dry-run", "update"):  # which take what the remote has
        fresh.releaser(*command.split(), check=0)
