"""Coming from no lock: a venv that pip has filled, or a requirements file, becomes a project with exactly that lock."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import make_hook, states, step, steps
from tests.support.commands import git_executable, run
from tests.support.guards import require
from tests.support.lockless import UV_TABLE, fill, installed, make_lockless
from tests.support.templates import write_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory

COMMENTED = f"# What the shop is made of.\n{UV_TABLE}\n[tool.black]\nline-length = 100  # wide\n"
INSTALLED = ("alpha==1.0.0", "gamma", "beta==1.0.0", "delta[fast]")
FREE = ["alpha==1.0.0", "beta==1.0.0", "delta==1.0.0", "epsilon==1.0.0", "gamma==1.0.0"]


def dependencies(site: SampleSite) -> list[str]:
    content = tomllib.loads((site.path / "pyproject.toml").read_text(encoding="utf-8"))
    return list(content["project"]["dependencies"])


def locked(site: SampleSite) -> list[str]:
    packages = tomllib.loads(site.lock_text())["package"]
    return sorted(f"{one['name']}=={one['version']}" for one in packages if "virtual" not in one["source"])


def is_as_committed(site: SampleSite) -> bool:
    return site.git("status", "--porcelain", "--untracked-files=all") == "" and site.remote_head() == site.head()


def make_sources(site: SampleSite) -> tuple[Path, str]:
    """Make the projects tools and theme beside the site, theme in a repository; return theme, and its commit."""
    theme = site.outer / "theme"
    for directory in (theme, site.outer / "tools"):
        write_files(directory, project_files(directory.name))
    return theme, make_repository(site, theme)


def test_a_venv_becomes_a_lock_of_the_same_versions_and_a_release(make_site: SiteFactory) -> None:
    site = make_lockless(make_site, pyproject=COMMENTED)
    fill(site, site.link, *INSTALLED, pip=True)
    before = installed(site.link / "bin" / "python")
    assert before == FREE
    snapshot = site.snapshot()
    plan = site.json("init", "--from-venv", site.link, "--dry-run")
    assert "5 packages would be locked as they are: alpha 1.0.0, beta 1.0.0, " in " ".join(plan["would"])
    assert site.snapshot() == snapshot
    assert not site.state_dir.exists()

    report = site.json("init", "--from-venv", site.link)
    assert (report["command"], report["result"], report["exit_code"]) == ("init", "activated", 0)
    assert report["problems"] == []
    assert "5 packages: the same names and versions" in report["headline"]
    assert steps(report)[:7] == ["survey", "preflight", "stage", "lock", "build", "compare", "test"]
    assert installed(site.link / "bin" / "python") == before == locked(site)
    assert dependencies(site) == ["alpha>=1.0.0", "delta>=1.0.0", "epsilon>=1.0.0", "gamma>=1.0.0"]
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    assert text.startswith(COMMENTED)
    assert "constraint" not in site.lock_text()
    site.uv("lock", "--check")
    assert is_as_committed(site)
    assert site.git("show", "--name-only", "--format=%s", "HEAD").split("\n\n") == [
        f"Lock what is installed, as in release {report['release']}",
        "pyproject.toml\nuv.lock",
    ]
    assert list(states(site).values()) == ["live", "good"]

    site.releaser("rollback", check=0)
    assert site.live_id() == report["previous"]
    assert installed(site.link / "bin" / "python") == before
    assert is_as_committed(site)
    site.releaser("rollback", report["release"], check=0)
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
    refused = site.releaser("init", "--from-venv", site.link, check=3)
    assert f"{site.path / 'uv.lock'} exists, so the project has a lock already" in refused.stderr
    assert "already says what the project depends on: [project] dependencies" in refused.stderr


def test_code_that_came_after_the_first_lock_goes_back_to_the_commit_of_that_lock(make_site: SiteFactory) -> None:
    site = make_lockless(make_site, pyproject=COMMENTED)
    fill(site, site.link, *INSTALLED)
    site.push()
    first = site.json("init", "--from-venv", site.link)
    first_lock = site.head()
    site.push_from_elsewhere({"notes.txt": "news"})
    site.update_to("alpha", "1.1.0")
    assert (site.path / "notes.txt").exists()
    site.releaser("rollback", first["previous"], check=0)
    assert (site.head(), site.live_id()) == (first_lock, first["previous"])
    assert site.git("status", "--porcelain", "--untracked-files=all") == ""
    site.releaser("rollback", first["release"], check=0)
    assert (site.head(), site.live_id()) == (first_lock, first["release"])


def test_what_does_not_work_out_leaves_everything_as_it_was(make_site: SiteFactory) -> None:
    site = make_lockless(make_site, pyproject=None)
    fill(site, site.link, *INSTALLED)
    site.edit("requirements.txt", f"--no-index\n--find-links {site.index.path}\nalpha\ndelta[fast]\ngamma==1.0.0\n")
    site.edit("site_tests.py", 'def test_shop(packages):\n    assert not packages, "the shop is closed"\n')
    site.push_commit("Close the shop")
    before, words = site.snapshot(), ("init", "--from-requirements", site.path / "requirements.txt")

    report = site.json(*words, check=5)
    assert "the shop is closed" in report["output"]
    assert report["advice"].endswith("fix the site or its tests, commit that, and give the same command again.")
    assert report["live_changed"] is False
    assert site.snapshot() == before
    assert not (site.path / "pyproject.toml").exists()
    finished = site.releaser("update", check=3)  # there is nothing yet that could be updated
    assert f"{site.path / 'pyproject.toml'} does not exist" in finished.stderr

    site.mend_tests()
    head, python, before = site.head(), site.link / "bin" / "python", site.snapshot()
    ill = {"RELEASER_HEALTH_CHECK": "false"}
    assert "it would be refused: the live site fails its" in str(site.json(*words, "--dry-run", env=ill)["would"])
    report = site.json(*words, env=ill, check=3)
    assert report["headline"].startswith("the live site fails its health check: ")
    assert "--force" not in report["advice"]
    assert "stage" not in steps(report)
    assert site.snapshot() == before
    report = site.json(*words, env={"RELEASER_HEALTH_CHECK": "sh -c '! test -e uv.lock'"}, check=6)
    assert report["result"] == "rolled_back"
    assert installed(python) == FREE
    assert not (site.path / "pyproject.toml").exists()
    assert not (site.path / "uv.lock").exists()
    assert (site.head(), site.git("status", "--porcelain")) == (head, "")
    adopted = site.live_id()

    report = site.json(*words)
    assert (report["result"], report["previous"]) == ("activated", adopted)
    assert installed(python) == FREE == locked(site)
    assert dependencies(site) == ["alpha", "delta[fast]", "gamma>=1.0.0"]
    assert is_as_committed(site)


def test_what_cannot_be_locked_is_named_in_one_go(make_site: SiteFactory) -> None:
    site = make_lockless(make_site)
    (theme, commit), tools = make_sources(site), site.outer / "tools"
    # No lock for all platforms could have that; of Pythons, the lock is for that of the site alone.
    site.publish("zeta", "1.0.0", requires=["alpha>=1.1; sys_platform == 'win32'"])
    wheel = next(site.index.path.glob("epsilon-*.whl"))
    fill(site, site.link, "alpha==1.0.0", "zeta", "beta==1.0.0", f"git+{theme.as_uri()}#egg=theme", "-e", tools, wheel)
    site.withdraw("beta", "1.0.0")
    before, freeze = site.snapshot(), installed(site.link / "bin" / "python")
    words = ("init", "--from-venv", site.link)

    refused = site.releaser(*words, check=3)
    for expected in (
        f"theme 1.0.0 was installed from git+{theme.as_uri()}@{commit}, so no lock can hold it",
        f"--with 'theme @ git+{theme.as_uri()}@{commit}'",
        f"tools 1.0.0 is an editable install of {tools}",
        f"epsilon 1.0.0 was installed from {wheel.as_uri()}",
        "beta 1.0.0 is not in the index",
        "--without beta",
    ):
        assert expected in refused.stderr
    assert site.snapshot() == before

    given = ["--with", f"theme @ git+{theme.as_uri()}@{commit}", "--with", f"tools @ {tools}"]
    given += ["--with", "epsilon==1.0.0", "--without", "beta"]
    report = site.json(*words, *given)
    assert report["result"] == "activated"
    assert installed(site.link / "bin" / "python") == [one for one in freeze if one != "beta==1.0.0"]
    assert dependencies(site)[-3:] == ["theme", "tools", "zeta>=1.0.0"]
    assert "only for this platform and this Python" in step(report, "lock")["detail"]
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    assert 'tools = { path = "../tools", editable = true }' in text
    assert f'theme = {{ git = "{theme.as_uri()}", rev = "{commit}" }}' in text
    assert is_as_committed(site)


def test_an_index_that_does_not_answer_hides_nothing_else(make_site: SiteFactory, dead_port: int) -> None:
    project = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.98"\n'
    index = f'[[tool.uv.index]]\nurl = "http://127.0.0.1:{dead_port}/simple"\ndefault = true\n'
    site = make_lockless(make_site, pyproject=project + index)
    fill(site, site.link, "--no-deps", "alpha==1.0.0", "gamma==1.0.0")
    before, dead = site.snapshot(), {"UV_HTTP_RETRIES": "0"}
    wanted = [
        f"{site.path / 'pyproject.toml'}: requires-python is '>=3.98', and the site runs on Python 3.",
        "The package `gamma` requires `beta`, but it's not installed",
        f"{site.path / 'missing.txt'}",
        "could not find out whether the index has these versions: Failed to fetch",
    ]
    words = ("init", "--from-venv", site.link)
    assert f"{'x' * 300} does not exist" in site.releaser("init", "--from-venv", "x" * 300, env=dead, check=3).stderr
    for more, expected in (
        (["--dry-run"], [wanted[0], wanted[1], wanted[3]]),
        ([], [wanted[0], wanted[1], wanted[3]]),
        (["--from-requirements", site.path / "missing.txt"], wanted[:3]),
        (["--without", "gamma"], [wanted[0], wanted[3]]),
        (["--with", "beta==2.0.0"], [wanted[0], wanted[3]]),
    ):
        refused = site.releaser(*words, *more, env=dead, check=3).stderr
        assert [one for one in wanted if one in refused] == expected, refused
    site.edit(
        "pyproject.toml", project.replace("3.98", "3.8") + '[tool.uv]\noverride-dependencies = ["beta"]\n' + index
    )
    site.commit("Name the right Python")
    refused = site.releaser(*words, env=dead, check=4).stderr
    assert [one for one in wanted if one in refused] == [wanted[3]]
    site.git("reset", "--quiet", "--hard", "HEAD~1")
    assert site.snapshot() == before


def test_a_file_of_pins_needs_no_venv(make_site: SiteFactory) -> None:
    site = make_lockless(make_site, pyproject=None)
    site.edit("requirements/base.in", "gamma\nalpha ~= 1.0\n")
    site.edit("requirements.txt", "-r requirements/base.in\n-c pins.txt\n--no-index\n-f ../index\ndelta[fast]==1.0.0\n")
    site.edit("pins.txt", "beta==1.0.0\nalpha==1.0.0\n")
    site.push_commit("Require packages")
    report = site.json("init", "--from-requirements", site.path / "requirements.txt")
    assert report["result"] == "activated"
    assert "besides, epsilon 1.0.0, gamma 1.0.0" in step(report, "compare")["detail"]
    assert installed(site.link / "bin" / "python") == FREE
    assert dependencies(site) == ["alpha~=1.0", "delta[fast]>=1.0.0", "gamma"]
    assert is_as_committed(site)


def test_a_file_may_name_places_bounds_and_other_platforms(make_site: SiteFactory) -> None:
    site = make_lockless(make_site)
    theme, commit = make_sources(site)
    lines = [
        "-e ../tools", f"theme @ git+{theme.as_uri()}@{commit}", "-c bounds.txt", "gamma", "delta[fast]==1.0.0",
        'alpha==1.0.0; sys_platform == "win32"', 'alpha==1.1.0; sys_platform == "linux"  # here',
    ]  # fmt: skip
    site.edit("requirements.txt", "\n".join(lines) + "\n")
    site.edit("bounds.txt", "beta<2\ndelta==1.0.0\n")
    site.push_commit("Require packages")
    report = site.json("init", "--from-requirements", site.path / "requirements.txt")
    assert report["result"] == "activated"
    there = installed(site.link / "bin" / "python")
    assert there == ["alpha==1.1.0", "beta==1.0.0", *FREE[2:], "theme==1.0.0", "tools==1.0.0"]
    asked_for = dependencies(site)
    assert {"gamma", "theme", "tools", "delta[fast]>=1.0.0"} < set(asked_for)
    assert {one.partition(" ")[0] for one in asked_for if one.startswith("alpha")} == {"alpha>=1.0.0", "alpha>=1.1.0"}
    uv = tomllib.loads((site.path / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]
    assert uv["constraint-dependencies"] == ["beta<2"]
    assert uv["sources"]["tools"] == {"path": "../tools", "editable": True}
    assert is_as_committed(site)


def test_what_uv_cannot_take_is_named_with_its_file_and_line(make_site: SiteFactory) -> None:
    site = make_lockless(make_site)
    fill(site, site.link, "alpha==1.0.0", "beta==1.0.0")
    file = site.path / "requirements.txt"
    before = site.snapshot()
    for text, expected in (
        ("alpha\n-e git+https://example.org/theme.git#egg=theme\n", "`requirements.txt` at line 2"),
        ("alpha\nbeta ==== 1\n", f"Couldn't parse requirement in {file}, line 2"),
        ("alpha\n--frobnicate\n", "requirements.txt:2:"),
        ("alpha @ file:///nosuch.whl\n", f"uv cannot take {file}: Distribution not found"),
        ("alpha\nbeta>=2\n", f"{file}, line 2: beta>=2 is installed as 1.0.0"),
        ("alpha\ngamma\n", f"{file}, line 2: gamma 1.0.0 is required, but not installed"),
        ("alpha\n-r missing.txt\n", "missing.txt"),
        ("alpha @ https://kitty:s3cret@example.org/alpha.whl\n", "s3cret"),
    ):
        site.edit("requirements.txt", text)
        refused = site.releaser("init", "--from-requirements", file, check=3).stderr
        file.unlink()
        assert (expected in refused) == (expected != "s3cret"), refused
    assert site.snapshot() == before


def test_packages_that_are_not_in_the_venv_itself_have_to_be_named(make_site: SiteFactory) -> None:
    site = make_lockless(make_site)
    base = site.outer / "base"
    fill(site, base, "alpha==1.0.0")
    python = ".".join(map(str, sys.version_info[:3]))  # no earlier patch version will do, on any platform
    site.publish("zeta", "1.0.0", requires_python=f">={python}")
    for name in ("setuptools", "wheel"):
        site.publish(name, "1.0.0")
    fill(site, site.link, "gamma==1.0.0", "zeta", "setuptools", "wheel")
    (place,) = site.link.glob("lib/python*/site-packages")
    (below,) = base.glob("lib/python*/site-packages")
    (place / "below.pth").write_text(f"{below}\n", encoding="utf-8")
    for loud in ("", "import sys; print('hello')\n"):
        (place / "loud.pth").write_text(loud, encoding="utf-8")
        refused = site.releaser("init", "--from-venv", site.link, check=3).stderr
        assert "sees packages that are not installed in it, which may be needed: alpha" in refused
    (place / "loud.pth").unlink()
    site.edit("requirements.txt", "alpha\ngamma\nzeta\nwheel\n")
    site.push_commit("Require packages")
    report = site.json("init", "--from-venv", site.link, "--from-requirements", site.path / "requirements.txt")
    assert report["result"] == "activated"
    assert locked(site) == ["alpha==1.0.0", "beta==2.0.0", "gamma==1.0.0", "wheel==1.0.0", "zeta==1.0.0"]
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">={python},<3.{sys.version_info[1] + 1}"' in text
    assert "environments" not in text


def test_what_could_not_be_committed_is_committed_by_a_later_update(make_site: SiteFactory) -> None:
    site = make_lockless(make_site)
    fill(site, site.link, "alpha==1.0.0")
    site.env["RELEASER_GIT_HOOKS"] = "true"
    hook = make_hook(site.path / ".git", "pre-commit")
    site.releaser("init", "--from-venv", site.link, check=7)
    site.releaser("update", check=7)
    assert site.live_version("alpha") == "1.1.0"
    assert "pyproject.toml" in site.git("status", "--porcelain")
    hook.unlink()
    site.releaser("update", check=0)
    assert is_as_committed(site)
    assert "alpha" in site.git("show", "HEAD:pyproject.toml")


def test_a_project_that_is_installed_itself_may_write_its_name_as_it_likes(make_site: SiteFactory) -> None:
    head = project_files("My_Shop")["pyproject.toml"]
    site = make_lockless(make_site, pyproject=head + UV_TABLE)
    site.push_commit("Be a package", {"My_Shop.py": '__version__ = "1.0.0"\n'})
    fill(site, site.link, "alpha==1.0.0", "-e", site.path)
    report = site.json("init", "--from-venv", site.link)
    assert report["result"] == "activated"
    assert step(report, "compare")["detail"] == "1 package: the same name and versions"
    assert "My_Shop==1.0.0" in installed(site.link / "bin" / "python")
    assert is_as_committed(site)


def project_files(name: str) -> dict[str, str]:
    """Return the files of a package that can be built."""
    head = f'[project]\nname = "{name}"\nversion = "1.0.0"\n'
    return {
        "pyproject.toml": head + '[build-system]\nrequires = ["tinybuild"]\nbuild-backend = "tinybuild"\n',
        f"{name}.py": '__version__ = "1.0.0"\n',
    }


def make_repository(site: SampleSite, directory: Path) -> str:
    """Commit everything in a directory; return the commit."""
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Begin"]):
        identity = ["-c", "user.name=Grace", "-c", "user.email=grace@example.org"]
        run([git_executable(), *identity, *words], cwd=directory, env=site.env, check=0)
    return run([git_executable(), "rev-parse", "HEAD"], cwd=directory, env=site.env, check=0).stdout.strip()


# Thirty packages of several kinds: with and without compiled code, with extras, and one that is held back by another.
REAL = [
    "flask==3.1.0", "requests[socks]==2.32.3", "celery==5.4.0", "redis==5.2.1",
    "pytest==8.3.4", "jinja2==3.1.4", "python-dotenv==1.0.1", "beautifulsoup4==4.12.3", "pyyaml==6.0.2",
]  # fmt: skip


@pytest.mark.network
def test_a_venv_of_real_packages_keeps_every_version(make_site: SiteFactory) -> None:
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")  # as cron would not have it
    named = f"[[tool.uv.index]]\nurl = {json.dumps(index)}\ndefault = true\n" if index else None
    site = make_lockless(make_site, pyproject=named)
    site.env = {**os.environ, **site.env}  # for certificates and proxies
    site.push_commit("Import some", {"shop.py": "import flask, yaml\n"})
    run([sys.executable, "-m", "venv", site.link], cwd=site.outer, env=site.env, check=0)
    pip: list[str | Path] = [site.link / "bin" / "python", "-m", "pip"]
    words = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-compile", *REAL]
    finished = run(words, cwd=site.outer, env=os.environ, timeout=300)
    require(finished.returncode == 0, f"the package index must be within reach\n{finished}")
    before = run([*pip, "freeze", "--all"], cwd=site.outer, env=os.environ, check=0).stdout.splitlines()
    assert len(before) >= 30

    env = {"RELEASER_TEST_COMMAND": "python -c 'import celery, requests, shop'", "RELEASER_COLLECTSTATIC": "off"}
    finished = site.releaser("init", "--from-venv", site.link, "--json", env=env)
    require("Failed to fetch" not in finished.stderr, f"the package index must be within reach\n{finished}")
    assert finished.returncode == 0, str(finished)
    report = json.loads(finished.stdout)
    assert f"{len(before)} packages: the same names and versions" in report["headline"]
    after = run([*pip, "freeze", "--all"], cwd=site.outer, env=os.environ, check=0).stdout.splitlines()
    assert after == before
    asked_for = {one.partition(">=")[0] for one in dependencies(site)}
    assert {"flask", "pip", "pysocks", "requests"} <= asked_for
    assert not {"urllib3", "kombu", "markupsafe"} & asked_for
    site.uv("lock", "--check")
    assert is_as_committed(site)
