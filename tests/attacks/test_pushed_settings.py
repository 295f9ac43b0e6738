"""A pushed commit can neither weaken the sandbox of its tests nor start a program outside the sandbox.

Settings that would do that count once the commit is live, or from `.env` and the environment.
"""

import shlex
import shutil
from pathlib import Path

import pytest

from tests.support.sites import RED_TESTS, TESTS, SampleSite, SiteFactory

#: What a commit brings that is to leave a mark outside of the staging tree. Its tests fail.
WRITES = "import pathlib\ntry:\n    pathlib.Path({mark!r}).write_text('out')\nexcept OSError:\n    pass\n" + RED_TESTS
IGNORED = "made\n.venv\n__pycache__/\n"
PUSHED = """\
before_build = ["sh", "before-build"]
uv = "./evil-uv"
python = "./evil-python"
sandbox = "off"
test_writable = [{place}]
"""


def push(site: SampleSite, lines: str, files: dict[str, str]) -> str:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    return site.push_from_elsewhere({"pyproject.toml": f"{text}\n[tool.releaser]\n{lines}\n", **files})


def as_program(name: str, mark: Path, program: str | None) -> str:
    """Make the text of a program that leaves the mark, and then does what `program` does."""
    goes_on = f'exec {shlex.quote(program)} "$@"' if program else "true"
    return f"#!/bin/sh\necho {name} > {shlex.quote(str(mark))}\n{goes_on}\n"


@pytest.mark.parametrize("passes", [False, True])
def test_a_push_runs_nothing_outside_of_the_sandbox_before_it_is_live(
    make_site: SiteFactory, tmp_path: Path, passes: bool
) -> None:
    """Its tests fail, and write; where the command would run after them, they pass."""
    site, place = make_site.adopted(), tmp_path / "theirs"
    place.mkdir()
    site.write_dotenv({"RELEASER_TEST_WRITABLE": None})  # which the samples have, to record what was run
    del site.env["SAMPLE_SITE_RUNS"]
    mark, clone = place / "mark", site._clone_elsewhere()
    programs = {"evil-uv": shutil.which("uv", path=site.env["PATH"]), "evil-python": shutil.which("python3")}
    files = {name: as_program(name, mark, programs.get(name)) for name in (*programs, "before-build", "before-live")}
    for name in programs:  # git keeps that they can be started
        (clone / name).touch(mode=0o755)
    if passes:
        push(site, 'before_live = ["sh", "before-live"]', files)
    else:
        push(site, PUSHED.format(place=f'"{place}"'), {**files, TESTS: WRITES.format(mark=str(mark))})
    before = site.live_id()
    finished = site.releaser("update")
    assert not mark.exists(), f"{mark.read_text(encoding='utf-8')}: {finished}"
    assert finished.returncode == (0 if passes else 5), finished
    assert (site.live_id() == before) is not passes


@pytest.mark.parametrize(
    ("name", "value"),
    [(".python-version", "./evil-python"), (".python-versions", "evil-python"), (".python-version", "{mark}-python")],
)
def test_a_pushed_python_version_starts_no_program_of_the_commit(
    make_site: SiteFactory, tmp_path: Path, name: str, value: str
) -> None:
    site, mark = make_site.adopted(), tmp_path / "mark"
    program, outside = as_program(name, mark, shutil.which("python3")), tmp_path / "mark-python"
    (site._clone_elsewhere() / "evil-python").touch(mode=0o755)
    outside.write_text(program, encoding="utf-8")
    outside.chmod(0o755)
    named = value.format(mark=mark)
    site.push_from_elsewhere({"evil-python": program, name: f"{named}\n"})
    for words in (["update", "--dry-run"], ["update"]):
        assert f"{name} of the new commit names a program, {named}" in site.releaser(*words).stderr
        assert not mark.exists()


def test_a_run_says_once_which_settings_wait_and_a_commit_that_needs_them_goes_live_once_the_host_says_so(
    make_site: SiteFactory,
) -> None:
    site = make_site.adopted()
    tests = (site.path / TESTS).read_text(encoding="utf-8")
    lines = 'before_build = "sh make.sh"\nbuild_output = ["made"]'
    commit = push(site, lines, {"make.sh": "echo x > made\n", ".gitignore": IGNORED})
    plan = site.releaser("update", "--dry-run", check=0)
    assert "before_build" in plan.stdout + plan.stderr
    said = site.json("update")["noted"]
    assert said.count("Commit ") == 1, said
    assert f"Commit {commit[:12]}" in said
    assert "RELEASER_BEFORE_BUILD='sh make.sh' RELEASER_BUILD_OUTPUT=made releaser update --force" in said
    assert not (site.path / "made").exists()
    site.publish("alpha", "1.1.0")
    assert "before_build" not in site.json("update")["noted"], "it is live, and counts"
    assert (site.path / "made").read_text(encoding="utf-8") == "x\n"
    needs = f"{tests}\nimport pathlib\nassert pathlib.Path('made').read_text() == 'y\\n'\n"
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8").replace("sh make.sh", "sh more.sh")
    site.push_from_elsewhere({"more.sh": "echo y > made\n", TESTS: needs, "pyproject.toml": text})
    failed = site.releaser("update", check=5)
    assert "RELEASER_BEFORE_BUILD='sh more.sh'" in failed.stdout + failed.stderr
    site.releaser("update", "--force", check=0, env={"RELEASER_BEFORE_BUILD": "sh more.sh"})
    assert (site.path / "made").read_text(encoding="utf-8") == "y\n"


def test_check_lists_the_settings_that_count_only_once_they_are_live(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    listed = site.json("check")["counted_once_live"]
    assert {"before_build", "sandbox", "uv", "test_writable", "environment_file", "git_hooks"} <= {*listed}
    said = site.releaser("check", check=0).stderr
    assert all(name in said for name in listed)
