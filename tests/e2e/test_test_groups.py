"""`test_groups`: what only the tests need is there while they run, and is no part of what goes live."""

from typing import Any

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import edit_pyproject, silent, states
from tests.e2e.test_bad_tools import proxy
from tests.e2e.test_culprits import held, live_versions, publish
from tests.e2e.test_unbuildable import publish_unbuildable
from tests.support.sites import SampleSite, SiteFactory

GROUPS = {"local": ["localtools"], "test": ["tool", "localtools"]}
# Red without the packages of the group, or with one that is there twice.
TESTS = """\
import importlib.metadata, os, shutil, subprocess, sys
def test_tool(packages):
    import tool
    name = importlib.metadata.version("tool")
    assert tool.__version__ == name
def test_packages(packages):
    for name, module in packages.items():
        assert getattr(module, "BROKEN", None) != "test", f"{name} breaks the site"
def test_place(packages):
    *own, place = os.environ["PYTHONPATH"].split(":")
    found = {name.split("-")[0] for name in os.listdir(place) if name.endswith(".dist-info")}
    assert found == {"tool"}, found
    assert os.environ["PATH"].startswith(sys.prefix + "/bin:")
"""
FOUND = "import importlib.util as i; print(*(i.find_spec(one) is not None for one in ('tool', 'localtools')))"
SCRIPT = 'import sys\n__version__ = "1.1.0"\ndef main():\n    import alpha\n    print(sys.prefix)\n'
# Red unless programs of the group run by name, in a child, with the packages of the release.
CHILDREN = """\
import importlib.metadata, os, subprocess, sys
def test_children(packages):
    said = subprocess.run(["tool"], capture_output=True, text=True, check=True).stdout
    assert said.strip() == sys.prefix, said
    child = [sys.executable, "-c", "import tool, alpha, own; print(own.__file__)"]
    assert "/lib/own.py" in subprocess.run(child, capture_output=True, text=True, check=True).stdout
    (found,) = importlib.metadata.entry_points(group="console_scripts", name="tool")
    assert found.load().__module__ == "tool"
    first, *_ = os.environ["PYTHONPATH"].split(":")
    assert first.endswith("/lib") and first == os.path.dirname(os.path.abspath(first + "/own.py"))
"""


def a_site(make_site: SiteFactory, *, venv: bool = True, tests: str = TESTS, **options: Any) -> SampleSite:
    """Make a site whose tests need `tool`, of the group `test`; it is adopted if it has a venv."""
    settings = {"test_groups": ["test"], **options.pop("settings", {})}
    files = {"site_tests.py": tests, **options.pop("files", {})}
    chosen = {"groups": GROUPS, **options, "settings": settings, "files": files}
    return make_site.adopted(**chosen) if venv else make_site(**chosen)


def runs_with(site: SampleSite) -> list[tuple[str | None, str | None]]:
    """Return with which versions of `alpha` and `tool` each run of the tests was."""
    runs = site.manage_runs("test")
    return [(run.versions.get("alpha"), run.versions.get("tool")) for run in runs]


def nothing_is_left(site: SampleSite) -> None:
    assert not list(site.state_dir.glob(".*.new"))
    assert not [one.name for one in site.outer.iterdir() if "staging" in one.name]


def test_they_are_there_for_the_tests_and_not_live(make_site: SiteFactory) -> None:
    site = a_site(make_site, settings={"django_check": "deploy"})
    publish(site, "alpha", "tool")
    interrupted(site, "update", at=Point(place="releaser.candidate.trials:_sync_test_packages"))
    assert list(site.state_dir.glob(".test-packages-*"))  # which the next run deletes
    assert site.json("update")["result"] == "updated"
    assert runs_with(site) == [("1.1.0", "1.1.0")]
    assert "tool" in site.manage_runs("check")[-1].versions
    assert site.json("rebuild")["result"] == "updated"
    wheel = site.publish("alpha", "2.0.0")
    assert site.json("update", "--override", f"alpha @ {wheel}")["result"] == "no-changes"
    assert runs_with(site)[1:] == [("1.1.0", "1.1.0"), ("2.0.0", "1.1.0")]
    others = [*site.manage_runs("collectstatic"), *site.manage_runs("shell")]
    assert not [run for run in others if "tool" in run.versions or "test-packages" in run.env.get("PYTHONPATH", "")]
    assert site.python(FOUND) == "False True"
    nothing_is_left(site)
    before, earlier = site.snapshot(), site.releases()[0]
    site.releaser("verify", "--tests", "--check", check=0)
    site.releaser("verify", "--tests", earlier, check=0)
    assert runs_with(site)[3:] == [("1.1.0", "1.1.0"), ("1.0.0", "1.0.0")], "in the versions of each release"
    assert site.snapshot() == before


def test_programs_and_children_find_them_behind_the_paths_of_the_site(make_site: SiteFactory) -> None:
    settings = {"environment_file": "../site.env"}
    site = a_site(make_site, venv=False, tests=CHILDREN, settings=settings, files={"lib/own.py": ""})
    (site.outer / "site.env").write_text(f"PYTHONPATH={site.path}/lib\n", encoding="utf-8")
    site.index.publish("tool", "1.0.0", scripts={"tool": "tool:main"}, modules={"tool/__init__.py": SCRIPT})
    site.uv("lock", "--quiet", "--refresh")
    assert site.json("init")["result"] == "updated"
    nothing_is_left(site)


def test_whose_fault_it_is_and_which_upgrade_is_to_blame(make_site: SiteFactory) -> None:
    """The live release is tried with the versions of its own lock, and so is each part of the upgrades."""
    site = a_site(make_site)
    publish(site, "alpha", "beta", "tool", broken=("beta",))
    report = site.json("update")
    assert (report["result"], report["culprits"]) == ("updated", ["beta 1.1.0"])
    assert live_versions(site, ("alpha", "beta")) == {"alpha": "1.1.0", "beta": "1.0.0"}
    runs = runs_with(site)
    assert runs[:2] == [("1.1.0", "1.1.0"), ("1.0.0", "1.0.0")]
    assert len(runs) > 4
    assert None not in {tool for _, tool in runs}
    nothing_is_left(site)


def test_the_live_release_is_tried_with_its_lock_even_if_that_lacks_the_group(make_site: SiteFactory) -> None:
    """The commit that brings the group is blamed by what it brings: the tests of the code before need no such group."""
    site = make_site.adopted()
    site.publish("tool", "1.0.0")
    text = edit_pyproject(site, "[dependency-groups]\n", '[dependency-groups]\ntest = ["tool"]\n')
    text += '\n[tool.releaser]\ntest_groups = ["test"]\n'
    files = {"pyproject.toml": text, "site_tests.py": TESTS + "def test_red(packages):\n    assert False\n"}
    site.push_from_elsewhere(files, lock=True)
    report = site.json("update", check=5)
    assert report["blame"] == "update"
    assert runs_with(site)[:2] == [("1.0.0", "1.0.0"), ("1.0.0", None)]


def test_if_they_cannot_be_installed_no_package_is_blamed_but_one_that_cannot_be_built(make_site: SiteFactory) -> None:
    site = a_site(make_site)
    publish(site, "alpha")
    before = site.snapshot()
    gone = proxy(site, "' --only-group '", 'echo "error: gone" >&2; exit 2')
    report = site.json("update", check=4, env=gone)
    assert "`test_groups`: test" in report["headline"]
    assert "No package of the release is the cause" in report["advice"]
    assert "error: gone" in report["output"]
    assert (report["on_hold"], report["culprits"], runs_with(site)) == ([], [], [])
    assert site.snapshot() == before
    assert list(states(site).values()) == ["live"]
    publish_unbuildable(site, "tool", version="1.2.0")
    assert held(site.json("update")) == {"tool": "1.2.0"}
    assert site.live_version("alpha") == "1.1.0"
    silent(site.releaser("update"))
    nothing_is_left(site)


def test_the_group_dev_is_kept_out_of_what_goes_live(make_site: SiteFactory) -> None:
    settings = {"test_groups": ["dev"], "requirements_export": "requirements.txt", "requirements_export_group": "local"}
    files = {"site_tests.py": TESTS.replace('{"tool"}', '{"tool", "extra"}')}
    groups = {"local": ["localtools"], "dev": ["tool", "extra"]}
    site = make_site(venv=True, groups=groups, settings=settings, files=files)
    lost = "these packages in .venv will not be in the next release: extra 1.0.0, tool 1.0.0 (only in `dev`)"
    assert lost in site.releaser("check", check=0).stderr
    assert any(lost in one for one in site.json("init")["problems"])
    assert site.live_version("tool") == "1.0.0"
    site.update_to("alpha", "1.1.0")
    assert runs_with(site) == [("1.1.0", "1.0.0")]
    assert site.python(FOUND) == "False True"
    exported = (site.path / "requirements.txt").read_text(encoding="utf-8")
    assert "localtools==1.0.0" in exported
    assert "\ntool==" not in f"\n{exported}"
    site.releaser("verify", check=0)
