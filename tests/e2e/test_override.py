"""`update --override`: packages from a branch, a directory or a wheel are built and tested, and never go live."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from releaser.errors import PreflightError
from releaser.pipelines.override import add_overrides, read_override
from tests.e2e.scenes import refused, says
from tests.e2e.test_sources import BACKEND, BUILD
from tests.support import trees
from tests.support.sites import SampleSite
from tests.support.wheels import build_wheel

TEXTS: dict[str, str] = {
    "no table of uv": '[project]\nname = "shop"\n',
    "its own table": "[tool.uv]  # uv\nno-index = true\n[tool.other]\n",
    "a table below it": "[tool.uv.sources]\nx = { path = '../x' }\n",
    "overrides of the project": '[tool.uv]\noverride-dependencies = [\n  "beta<2",\n]\n',
    "one override": '[tool.uv]\noverride-dependencies=["beta<2"]',
}


@pytest.mark.parametrize("name", TEXTS)
def test_overrides_are_added_to_those_of_the_project(name: str) -> None:
    entries = ["alpha @ git+https://example.org/alpha@main", "gamma @ file:///srv/gamma"]
    before, after = tomllib.loads(TEXTS[name]), tomllib.loads(add_overrides(TEXTS[name], entries))
    overrides = after["tool"]["uv"].pop("override-dependencies")
    assert overrides == [*entries, *before.get("tool", {}).get("uv", {}).pop("override-dependencies", ())]
    assert after == {"tool": {"uv": {}}, **before} or after == before


def test_a_table_of_uv_that_cannot_be_written_is_refused() -> None:
    for text in ("tool.uv.no-index = true\n", "[tool]\nuv = { no-index = true }\n"):
        with pytest.raises(PreflightError):
            add_overrides(text, ["alpha @ file:///srv/alpha"])


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("Alpha @ git+https://example.org/alpha@main", True),
        ("alpha[x] @ git+ssh://git@example.org/alpha@main", True),
        ("alpha @ file:///srv/alpha-1.0-py3-none-any.whl", True),
        ("alpha", False),
        ("alpha==2", False),
        ("alpha @ ../alpha", False),
        ("git+https://example.org/alpha", False),
        ("alpha @ git+https://token@example.org/alpha", False),
        ("alpha @ https://me:token@example.org/alpha-1.0-py3-none-any.whl", False),
    ],
)
def test_an_override_is_a_name_and_a_url(text: str, is_right: bool) -> None:
    if is_right:
        assert read_override(text) == ("alpha", text)
    else:
        with pytest.raises(ValueError, match=r"NAME @ URL|password"):
            read_override(text)


def make_branch(site: SampleSite, name: str, *, is_broken: bool) -> str:
    """Commit another alpha to a branch of a repository; return the commit."""
    place = site.base / "alpha"
    place.mkdir(exist_ok=True)
    for file, text in {
        "pyproject.toml": f'[project]\nname = "alpha"\nversion = "1"\n{BUILD}',
        "backend.py": f"NAME, NEEDS, MODULE = 'alpha', '', 'alpha'\n{BACKEND}",
        "content.py": f"__version__ = 'of {name}'\nBROKEN = {is_broken}\n",
    }.items():
        (place / file).write_text(text, encoding="utf-8")
    commands: Sequence[Sequence[str]] = (["init", "-q"], ["switch", "-qC", name], ["add", "."], ["commit", "-qm", name])
    for words in commands:
        site.git(*words, cwd=place)
    return site.git("rev-parse", "HEAD", cwd=place)


@pytest.mark.slow
def test_law_1_3_an_override_is_tested_and_never_goes_live(site: SampleSite) -> None:
    commit = make_branch(site, "good", is_broken=False)
    make_branch(site, "bad", is_broken=True)
    url = f"alpha @ git+file://{site.base / 'alpha'}"
    live, before = site.live(), trees.tree(site.path, skip=(".git",))
    answer = site.json("update", "--override", f"{url}@good")
    assert (answer["result"], answer["release"], answer["changes"]) == ("no-changes", live, [])
    assert answer["headline"].startswith(f"The tests pass with alpha 1 ({commit[:7]}) from file://{site.base}/alpha.")
    tested = site.releases()[-1]
    assert site.states()[tested] == "outdated"
    code = "import alpha; print(alpha.__version__)"
    assert site.run(site.release(tested) / "venv/bin/python", "-c", code).stdout.strip() == "of good"
    assert json.loads((site.release(tested) / "manifest.json").read_text("utf-8"))["overrides"] == [f"{url}@good"]
    failed = site.releaser("update", "--override", f"{url}@bad", check=5)
    says(failed, "The tests do not pass with alpha 1", "Nothing went live", "tests.log")
    wheel = build_wheel(site.base, "beta", "3.0", is_broken=True).as_uri()
    says(site.releaser("update", "--override", f"{url}@good", "--override", f"beta @ {wheel}", check=5), "beta 3.0")
    assert (site.live(), trees.tree(site.path, skip=(".git",))) == (live, before)
    assert site.git("status", "--short") == ""
    # No way leads to it, and an update goes on as if it had never been.
    for release in (tested, site.releases()[-1]):
        refused(site, "rollback", release, code=9)
    site.releaser("hold", "alpha", check=0)
    site.publish("beta", "1.1.0")
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=0)
    assert (site.version("alpha"), site.version("beta")) == ("1.0.0", "1.1.0")
    assert tested not in site.states()
    assert site.json("status")["well"]


def test_wrong_overrides_change_nothing(site: SampleSite) -> None:
    says(refused(site, "update", "--override", "alpha==2", code=2), "NAME @ URL")
    says(refused(site, "update", "--override", "alpah @ file:///x", code=3), "Did you mean `alpha`?")
    says(refused(site, "update", "--override", "alpha @ file:///x", "beta", code=2), "builds and tests alone")
    says(refused(site, "update", "--override", f"alpha @ file://{Path('/nowhere')}", code=4), "/nowhere")
