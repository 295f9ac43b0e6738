"""Coming from no lock: a venv that pip has filled, or a requirements file, becomes a project with that lock."""

import sys
import tomllib
from pathlib import Path
from typing import Any

from tests.e2e.scenes import make_hook, states, steps
from tests.e2e.test_bad_tools import proxy
from tests.support.commands import git_executable, run
from tests.support.lockless import UV_TABLE, fill, installed, make_lockless
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import write_files

COMMENTED = f"# What the shop is made of.\n{UV_TABLE}\n[tool.black]\nline-length = 100  # wide\n"
INSTALLED = ("alpha==1.0.0", "gamma", "beta==1.0.0", "delta[fast]")
FREE = ["alpha==1.0.0", "beta==1.0.0", "delta==1.0.0", "epsilon==1.0.0", "gamma==1.0.0"]


def pyproject(site: SampleSite) -> dict[str, Any]:
    return tomllib.loads((site.path / "pyproject.toml").read_text(encoding="utf-8"))


def dependencies(site: SampleSite) -> list[str]:
    return list(pyproject(site)["project"]["dependencies"])


def locked(site: SampleSite) -> list[str]:
    packages = tomllib.loads(site.lock_text())["package"]
    return sorted(f"{one['name']}=={one['version']}" for one in packages if "virtual" not in one["source"])


def is_as_committed(site: SampleSite) -> bool:
    return site.git("status", "--porcelain", "--untracked-files=all") == "" and site.remote_head() == site.head()


def make_sources(site: SampleSite) -> tuple[Path, str]:
    """Make the projects tools and theme beside the site, theme in a repository; return theme, and its commit."""
    theme = site.outer / "theme"
    for directory in (theme, site.outer / "tools"):
        head = f'[project]\nname = "{directory.name}"\nversion = "1.0.0"\n'
        build = '[build-system]\nrequires = ["tinybuild"]\nbuild-backend = "tinybuild"\n'
        write_files(directory, {"pyproject.toml": head + build, f"{directory.name}.py": '__version__ = "1.0.0"\n'})

    def git(*words: str) -> str:
        identity = ("-c", "user.name=Grace", "-c", "user.email=grace@example.org")
        return run([git_executable(), *identity, *words], cwd=theme, env=site.env, check=0).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "Begin")
    return theme, git("rev-parse", "HEAD")


def test_a_venv_becomes_a_lock_of_the_same_versions_and_a_release(make_site: SiteFactory) -> None:
    site = make_lockless(make_site, pyproject=COMMENTED)
    fill(site, site.link, *INSTALLED, pip=True)
    before = installed(site.link / "bin" / "python")
    assert before == FREE
    snapshot = site.snapshot()
    plan = site.json("init", "--from-venv", site.link, "--dry-run")
    would = " ".join(plan["would"])
    assert "6 packages would be locked: alpha 1.0.0, beta 1.0.0, " in would
    assert "pyproject.toml would require delta>=1.0.0" in would
    assert site.snapshot() == snapshot
    assert not site.state_dir.exists()

    report = site.json("init", "--from-venv", site.link)
    assert (report["command"], report["result"], report["exit_code"]) == ("init", "updated", 0)
    assert report["problems"] == []
    assert "5 packages: the same names and versions" in report["headline"]
    assert steps(report) == [
        *("survey", "preflight", "stage", "lock", "compare", "commit", "move checkout", "push"), "preflight", "adopt",
    ]  # fmt: skip
    assert installed(site.link / "bin" / "python") == before == locked(site)
    assert dependencies(site) == ["alpha>=1.0.0", "delta>=1.0.0", "epsilon>=1.0.0", "gamma>=1.0.0"]
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    assert text.startswith(COMMENTED)
    assert "constraint" not in site.lock_text()
    site.uv("lock", "--check")
    assert is_as_committed(site)
    assert site.git("show", "--name-only", "--format=%s", "HEAD").split("\n\n") == [
        "Lock the installed versions",
        "pyproject.toml\nuv.lock",
    ]
    assert list(states(site).values()) == ["live"]

    first_lock = site.head()
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
    site.push_from_elsewhere({"notes.txt": "news"})
    site.update_to("alpha", "1.2.0")
    assert (site.path / "notes.txt").exists()
    site.releaser("rollback", report["release"], check=0)
    assert (site.head(), site.live_id()) == (first_lock, report["release"])
    assert installed(site.link / "bin" / "python") == before
    assert site.git("status", "--porcelain", "--untracked-files=all") == ""
    refused = site.releaser("init", "--from-venv", site.link, check=3)
    assert f"the project already has a lock: {site.path / 'uv.lock'}" in refused.stderr
    assert "already lists dependencies: [project] dependencies" in refused.stderr


def test_declared_dependencies_are_locked_in_the_versions_that_are_installed(make_site: SiteFactory) -> None:
    site = make_lockless(make_site)
    refused = site.releaser("init", "--from-pyproject", check=3)
    assert f"{site.path / 'pyproject.toml'} lists no dependencies" in refused.stderr
    fill(site, site.link, "alpha==1.0.0", "delta", pip=True)
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    declared = 'requires-python = ">=3.8"\ndependencies = ["alpha<2", "delta==1.0.0"]\n'
    project = f'[project]\nname = "shop"\nversion = "1"\n{declared}'
    site.push_commit("Declare dependencies", {"pyproject.toml": project + text})
    report = site.json("init", "--from-pyproject")
    assert (report["result"], report["problems"]) == ("updated", [])
    assert locked(site) == ["alpha==1.0.0", "delta==1.0.0"]
    assert (site.path / "pyproject.toml").read_text(encoding="utf-8") == project + text  # as people wrote it
    assert is_as_committed(site)


def test_what_differs_is_named_and_changes_nothing_without_force(make_site: SiteFactory) -> None:
    site = make_lockless(make_site)
    fill(site, site.link, "alpha==1.0.0", "gamma==1.0.0", "beta==1.0.0", "delta")
    site.edit("requirements.txt", "alpha\ndelta[fast]\n")
    site.push_commit("Require packages")
    before, words = site.snapshot(), ("init", "--from-requirements", site.path / "requirements.txt")
    expected = (
        "the lock differs from the installed packages: beta 1.0.0 → none, epsilon none → 1.0.0, gamma 1.0.0 → none"
    )
    plan = site.json(*words, "--dry-run")["would"]
    assert any(one.startswith(f"the command would refuse: {expected}") for one in plan)
    refused = site.releaser(*words, check=4)
    assert expected in refused.stderr
    assert "--without NAME" in refused.stderr
    assert site.snapshot() == before

    report = site.json(*words, "--force")
    assert report["result"] == "updated"
    assert any(one.startswith(expected) for one in report["problems"])
    assert locked(site) == ["alpha==1.0.0", "delta==1.0.0", "epsilon==1.0.0"]
    assert "beta==1.0.0" in installed(site.link / "bin" / "python")
    site.releaser("rebuild", check=0)
    assert installed(site.link / "bin" / "python") == locked(site)
    assert is_as_committed(site)


def test_the_first_release_of_a_file_is_built_and_tested(make_site: SiteFactory) -> None:
    """The lock that it is built from is committed by then, and harms nobody; the venv of the site stays its own."""
    site = make_lockless(make_site)
    venv = site.outer / "elsewhere"
    fill(site, venv, *INSTALLED)
    site.edit("site_tests.py", 'def test_shop(packages):\n    assert not packages, "the shop is closed"\n')
    site.push_commit("Close the shop")
    words = ("init", "--from-venv", venv)
    report = site.json(*words, check=5)
    assert "the shop is closed" in report["output"]
    assert not site.link.exists()
    assert is_as_committed(site)
    site.mend_tests()
    report = site.json("init")
    assert report["result"] == "updated"
    assert installed(site.link / "bin" / "python") == FREE == locked(site)
    assert installed(venv / "bin" / "python") == FREE
    assert list(states(site).values()) == ["live", "failed"]


def test_what_cannot_be_locked_is_named_in_one_go(make_site: SiteFactory) -> None:
    site = make_lockless(make_site)
    (theme, commit), tools = make_sources(site), site.outer / "tools"
    wheel = next(site.index.path.glob("epsilon-*.whl"))
    fill(site, site.link, "alpha==1.0.0", "beta==1.0.0", f"git+{theme.as_uri()}#egg=theme", "-e", tools, wheel)
    site.withdraw("beta", "1.0.0")
    before, freeze = site.snapshot(), installed(site.link / "bin" / "python")
    words = ("init", "--from-venv", site.link)

    refused = site.releaser(*words, "--without", "nothing", check=3)
    for expected in (
        f"theme 1.0.0 was installed from git+{theme.as_uri()}@{commit}, so it cannot be locked",
        f"--with 'theme @ git+{theme.as_uri()}@{commit}'",
        f"tools 1.0.0 is an editable install of {tools}",
        f"epsilon 1.0.0 was installed from {wheel.as_uri()}",
        "--without nothing: it is not installed",
    ):
        assert expected in refused.stderr
    given = ["--with", f"theme @ git+{theme.as_uri()}@{commit}", "--with", f"tools @ {tools}"]
    given += ["--with", "epsilon==1.0.0"]
    refused = site.releaser(*words, *given, check=4)
    assert "there is no version of beta==1.0.0" in refused.stderr
    assert "to skip a package, add --without" in refused.stderr
    assert site.snapshot() == before

    report = site.json(*words, *given, "--without", "beta")
    assert report["result"] == "updated"
    assert installed(site.link / "bin" / "python") == freeze
    assert dependencies(site) == ["alpha>=1.0.0", "epsilon>=1.0.0", "theme", "tools"]
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    assert 'tools = { path = "../tools", editable = true }' in text
    assert f'theme = {{ git = "{theme.as_uri()}", rev = "{commit}" }}' in text
    assert is_as_committed(site)


def test_all_problems_are_named_at_once(make_site: SiteFactory, dead_port: int) -> None:
    index = f'[[tool.uv.index]]\nurl = "http://127.0.0.1:{dead_port}/simple"\ndefault = true\n'
    project = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.98"\n'
    site = make_lockless(make_site, pyproject=project + index)
    fill(site, site.link, "alpha==1.0.0")
    words, dead = ("init", "--from-venv", site.link), {"UV_HTTP_RETRIES": "0"}
    assert f"{'x' * 300} does not exist" in site.releaser("init", "--from-venv", "x" * 300, env=dead, check=3).stderr
    site.edit("notes.txt", "not committed")
    for more in ((), ("--dry-run",)):
        refused = site.releaser(*words, *more, "--from-requirements", "missing.txt", env=dead, check=3).stderr
        assert "requires-python is '>=3.98', which does not allow Python 3." in refused
        assert "missing.txt cannot be read: No such file or directory" in refused
        assert "notes.txt" in refused
    (site.path / "notes.txt").unlink()
    site.edit("pyproject.toml", project.replace("3.98", "3.8") + index)
    site.push_commit("Name the right Python")
    before = site.snapshot()
    assert "Failed to fetch" in site.releaser(*words, env=dead, check=4).stderr
    assert site.snapshot() == before


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
    assert report["result"] == "updated"
    there = installed(site.link / "bin" / "python")
    assert there == ["alpha==1.1.0", "beta==1.0.0", *FREE[2:], "theme==1.0.0", "tools==1.0.0"]
    asked_for = dependencies(site)
    assert {"gamma", "theme", "tools", "delta[fast]>=1.0.0"} < set(asked_for)
    assert {one.partition(" ")[0] for one in asked_for if one.startswith("alpha")} == {"alpha>=1.0.0", "alpha>=1.1.0"}
    uv = pyproject(site)["tool"]["uv"]
    assert uv["constraint-dependencies"] == ["beta<2"]
    assert uv["sources"]["tools"] == {"path": "../tools", "editable": True}
    assert is_as_committed(site)


def test_what_uv_cannot_take_is_named_with_its_file_and_line(make_site: SiteFactory) -> None:
    """What is refused before uv is asked is in tests/resolution/test_requirements_file.py."""
    site = make_lockless(make_site, pyproject="[tool.black]\nline-length = 100\n")
    for place in (site.link, site.outer / "other"):
        fill(site, place, "alpha==1.0.0", "beta==1.0.0")
    file = site.outer / "requirements.txt"  # which need not be a part of the project
    before = site.snapshot()
    for text, code, expected in (
        ("alpha\n-e git+https://example.org/theme.git#egg=theme\n", 4, "Git sources cannot be editable"),
        ("alpha\nbeta ==== 1\n", 4, "no such comparison operator"),
        ("alpha\n-e .\n", 4, "self-dependencies are not permitted"),
        ("alpha\n--frobnicate\n", 3, f"{file}, line 2: `uv add` does not accept `--frobnicate`"),
        ("alpha\n-r missing.txt\n", 3, "missing.txt"),
        ("alpha\n--extra-index-url https://kitty:s3cret@example.org/\n", 3, f"{file}, line 2 contains a password"),
    ):
        file.write_text(text, encoding="utf-8")
        refused = site.releaser("init", "--from-requirements", file, check=code).stderr
        assert expected in refused
        assert "s3cret" not in refused
    refused = site.releaser("init", "--from-venv", site.outer / "other", check=3).stderr
    assert f"{site.link} is already a venv, but --from-venv names another one" in refused
    assert site.snapshot() == before
    said = site.releaser("check", check=3).stderr
    assert "has no [project] table" in said
    assert "uv init" not in said, "which uv refuses beside other tables"


def test_packages_that_are_not_in_the_venv_itself_have_to_be_named(make_site: SiteFactory) -> None:
    site = make_lockless(make_site)
    for name in ("setuptools", "wheel"):
        site.publish(name, "1.0.0")
    fill(site, site.link, "gamma==1.0.0", "beta==1.0.0", "setuptools", "wheel")
    config = site.link / "pyvenv.cfg"
    text = config.read_text(encoding="utf-8").replace("-packages = false", "-packages = true")
    config.write_text(text, encoding="utf-8")
    refused = site.releaser("init", "--from-venv", site.link, check=3).stderr
    assert f"{site.link} sees packages of the system, which uv cannot list" in refused
    site.edit("requirements.txt", "alpha\ngamma\nwheel\n")
    site.push_commit("Require packages")
    report = site.json("init", "--from-venv", site.link, "--from-requirements", site.path / "requirements.txt")
    assert report["result"] == "updated"
    assert locked(site) == ["alpha==1.1.0", "beta==1.0.0", "gamma==1.0.0", "wheel==1.0.0"]


def test_versions_that_fit_no_other_platform_need_a_word_of_a_person(make_site: SiteFactory) -> None:
    """That they fit no earlier patch release of Python needs none."""
    python = ".".join(map(str, sys.version_info[:3]))
    site = make_lockless(make_site)
    needs = ["alpha>=1.1; sys_platform == 'win32'"]
    site.publish("zeta", "1.0.0", requires=needs, requires_python=f">={python}")
    fill(site, site.link, "alpha==1.0.0", "zeta")
    before = site.snapshot()
    refused = site.releaser("init", "--from-venv", site.link, check=4).stderr
    assert "sys_platform == 'win32'" in refused
    assert "For versions that fit this system only, first add `environments` to [tool.uv]" in refused
    assert site.snapshot() == before
    site.edit("pyproject.toml", UV_TABLE + "environments = [\"sys_platform == 'linux'\"]\n")
    site.push_commit("Name the platform")
    assert site.json("init", "--from-venv", site.link)["result"] == "updated"
    assert locked(site) == ["alpha==1.0.0", "zeta==1.0.0"]
    assert pyproject(site)["project"]["requires-python"] == f">={python},<3.{sys.version_info[1] + 1}"


def test_what_cannot_be_committed_changes_nothing(make_site: SiteFactory) -> None:
    site = make_lockless(make_site, pyproject=None)
    fill(site, site.link, "alpha==1.0.0")
    site.edit("pyproject.toml", UV_TABLE)
    before = site.snapshot()
    refused = site.releaser("init", "--from-venv", site.link, check=3)
    assert f"{site.path / 'pyproject.toml'} is not under git" in refused.stderr
    assert site.snapshot() == before
    site.push_commit("Begin with uv")
    site.env["RELEASER_GIT_HOOKS"] = "true"
    hook = make_hook(site.path / ".git", "pre-commit")
    before = site.snapshot()
    refused = site.releaser("init", "--from-venv", site.link, check=4)
    assert "pyproject.toml and uv.lock could not be committed" in refused.stderr
    assert site.snapshot() == before
    assert not site.link.is_symlink()
    hook.unlink()
    site.env["RELEASER_ENVIRONMENT"] = "production"  # of which there is no group
    site.releaser("init", "--from-venv", site.link, check=0)
    assert pyproject(site)["tool"]["releaser"] == {"group": "none"}
    assert is_as_committed(site)
    site.releaser("update", check=0)


def test_a_project_without_git_gets_its_first_lock(make_site: SiteFactory) -> None:
    site = make_lockless(make_site)
    fill(site, site.link, *INSTALLED)
    site.env["RELEASER_GIT"] = "false"
    site.edit("uv.lock", "version = 1\n")  # as a crash between the two files leaves it
    refused = site.releaser("init", "--from-venv", site.link, check=3).stderr
    assert f"Move uv.lock elsewhere: {site.path / 'pyproject.toml'} requires none of its packages" in refused
    (site.path / "uv.lock").unlink()

    # What somebody edits meanwhile is not overwritten, as there is no git that would bring it back.
    file = site.path / "pyproject.toml"
    edits = proxy(site, "' lock '", f"echo '# of somebody' >> {file}")
    refused = site.releaser("init", "--from-venv", site.link, env=edits, check=3).stderr
    assert f"{file} was changed during this run" in refused
    assert file.read_text(encoding="utf-8").startswith(f"{UV_TABLE}# of somebody\n")
    assert not (site.path / "uv.lock").exists()
    assert not site.link.is_symlink()
    site.edit("pyproject.toml", UV_TABLE)
    assert site.json("init", "--from-venv", site.link)["result"] == "updated"
    assert locked(site) == FREE == installed(site.link / "bin" / "python")
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
