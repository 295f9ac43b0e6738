"""Another Python: given by a path, replaced or removed by the system, or asked for by `rebuild`."""

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.scenes import changes, eventually, mostly_slow, no_change, refused, says, silent
from tests.support.commands import reachable_python, require, started
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server, read_mail
from tests.support.wheels import build_sdist
from tests.unit.test_startup_module import RUNNING, find_interpreters

Make = Callable[[SampleSite], str]


def other_python() -> Path:
    """Return an interpreter of a later series than that of the tests."""
    others = [path for path in find_interpreters() if path.name in ("python3.12", "python3.13") and path != RUNNING]
    require(bool(others), "another Python is needed")
    return others[0]


def version_of(python: Path) -> str:
    """Return the version of an interpreter."""
    code = "import platform; print(platform.python_version())"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def link_to(site: SampleSite, python: Path) -> Path:
    """Return a link to an interpreter in the outer directory, which a test can remove as the system would."""
    (site.outer / "python").unlink(missing_ok=True)
    (site.outer / "python").symlink_to(python)
    return site.outer / "python"


def copied_venv(site: SampleSite) -> str:
    """Return the Python of a venv that has a copy of it, not a link."""
    venv = site.outer / "tools"
    subprocess.run([RUNNING, "-m", "venv", "--without-pip", "--copies", venv], check=True)
    return str(venv / "bin" / "python")


def wrapper(site: SampleSite) -> str:
    """Return a script that starts an interpreter, as those of pyenv do."""
    path = site.outer / "wrapper"
    path.write_text(f'#!/bin/sh\nexec {RUNNING} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def relative_link(site: SampleSite) -> str:
    """Return a path that is relative to the project."""
    link_to(site, RUNNING)
    return "../python"


#: How a Python is named, and where.
WAYS: dict[str, tuple[Make, str]] = {
    "a copy in a venv": (copied_venv, "python"),
    "a wrapper": (wrapper, "python"),
    "a relative path": (relative_link, ".python-version"),
}


@pytest.mark.parametrize("way", mostly_slow(WAYS, "a copy in a venv"))
def test_law_27_a_python_given_by_path_is_no_news_each_night(make_site: SiteFactory, way: str) -> None:
    site, (make, place) = make_site(), WAYS[way]
    if place == "python":
        site.write_dotenv(python=make(site))
    else:
        site.push_commit("Choose a Python", {place: f"{make(site)}\n"})
    site.releaser("init", check=0)
    live = site.live()
    silent(site.releaser("update"))
    assert site.live() == live


def give_next_python(site: SampleSite, python: Path) -> None:
    """Offer an interpreter, before others, to what looks for one."""
    site.env["PATH"] = f"{python.parent}:{site.env['PATH']}"


@pytest.mark.slow
def test_law_11_30_a_python_that_the_users_of_the_site_cannot_start_does_not_go_live(make_site: SiteFactory) -> None:
    """Such as one in the home of the owner, while the web server runs the site."""
    require(os.geteuid() == 0, "only root can be another user")
    site = make_site()
    site.write_dotenv(python=str(reachable_python()))
    site.releaser("init", check=0)
    live, private = site.live(), site.outer / "private"
    private.mkdir(0o700)
    (private / "python").symlink_to(other_python())
    words = ["setpriv", "--reuid=65534", "bash", "-c", f"exec -a {site.link}/bin/python sleep 600"]
    with started(words, cwd=Path("/"), env=site.env) as web:
        eventually(lambda: "sleep" in Path(f"/proc/{web.pid}/comm").read_text(encoding="utf-8"), "the service runs")
        site.write_dotenv(python=str(private / "python"))
        says(refused(site, "update", code=4), "user 65534, whose processes run the site", "chmod o+x")
    site.releaser("update", check=0)
    assert site.live() != live


@pytest.mark.slow
def test_law_37_a_preference_for_pythons_of_uv_replaces_no_candidate(make_site: SiteFactory) -> None:
    """As a setting of the user, of a commit, or in the environment: the live release stays on its own Python."""
    site = make_site.live(due="1.1.0")
    site.write_dotenv({"UV_PYTHON_PREFERENCE": "only-managed"})
    says(site.releaser("update", "--dry-run", check=0), "1.1.0")
    site.releaser("update", check=0)
    assert site.version("alpha") == "1.1.0"


def test_law_11_removed_python_is_replaced_with_the_same_versions(make_site: SiteFactory) -> None:
    """A version without a build for the other Python moves within the rules; what else is newer waits a night."""
    other, before = other_python(), version_of(RUNNING)
    after, tag = version_of(other), RUNNING.name.replace("python", "cp").replace(".", "")
    site = make_site()
    (site.index / "beta-1.0.0-py3-none-any.whl").rename(site.index / f"beta-1.0.0-{tag}-none-any.whl")
    (site.path / "uv.lock").unlink()  # it names the file
    site.push_commit("Lock", lock=True)
    python = link_to(site, RUNNING)
    site.write_dotenv(python=str(python))
    site.releaser("init", check=0)
    for name, version in (("alpha", "1.1.0"), ("beta", "1.1.0"), ("beta", "2.0.0")):
        site.publish(name, version)
    give_next_python(site, other)
    python.unlink()
    with mail_server() as server:
        mail = {"ADMINS_JSON": '[["Ada", "ada@example.org"]]', "RELEASER_SMTP_HOST": server.host}
        site.write_dotenv(mail, upgrade_packages='{"beta": "none"}')
        says(refused(site, "update", code=4), "beta 1.0.0 has no file for this host")
        site.write_dotenv(mail, upgrade_packages='{"beta": "minor"}')
        status = " ".join(site.releaser("status", check=10).stdout.split())
        assert "its Python does not start" in status
        assert f"which was {before}" in status
        reason = f"Python {before} was removed; built on {after}."
        says(site.releaser("update", "--dry-run", check=0), "beta 1.0.0 → 1.1.0", reason.rstrip("."))
        (alpha,) = site.json("outdated", "alpha")["packages"]
        assert (alpha["tonight"], [block["by"] for block in alpha["blocked"]]) == (None, ["python"])
        assert reason.rstrip(".") in alpha["blocked"][0]["reason"]
        answer = site.json("update")
        assert changes(answer) == {"beta": ("1.0.0", "1.1.0")}
        assert reason in answer["notes"]
        assert (site.version("alpha"), site.json("list")[0]["python"]) == ("1.0.0", after)
        assert reason in read_mail(server.mails[-1][1])
    site.write_dotenv(upgrade_packages='{"beta": "minor"}')
    site.releaser("status", check=0)
    assert changes(site.json("update")) == {"alpha": ("1.0.0", "1.1.0")}
    silent(site.releaser("update"))


@pytest.mark.slow
def test_law_11_python_of_another_series_in_its_place(site: SampleSite) -> None:
    """As /usr/bin/python3 after an upgrade of the system: it starts, and does not find the packages."""
    other, before = other_python(), version_of(RUNNING)
    after = version_of(other)
    for release in (site.release(), site.release(site.update_to("1.1.0"))):
        python = release / "venv" / "bin" / "python"
        python.unlink()
        python.symlink_to(other)
    status = site.releaser("status", check=10)
    assert f"its Python is {after}, and was {before}" in " ".join(status.stdout.split())
    refused(site, "rollback", code=9)
    answer = site.json("update")
    assert (answer["changes"], site.json("list")[0]["python"]) == ([], after)
    assert f"Python {before} was replaced by {after}; built on {after}." in answer["notes"]
    assert site.python("import alpha; print(alpha.__version__)") == "1.1.0"
    silent(site.releaser("update"))


@pytest.mark.slow
def test_law_11_rebuild_makes_the_same_lock_anew_also_on_another_python(make_site: SiteFactory) -> None:
    site, other, before = make_site(), other_python(), version_of(RUNNING)
    after, series = version_of(other), before.rpartition(".")[0]
    site.push_commit("Choose a Python", {".python-version": f"{series}\n"})
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    earlier, head = site.release(), site.head()
    with no_change(site):
        says(site.releaser("rebuild", "--dry-run", check=0), "Would rebuild: the same packages.")
        says(site.releaser("rebuild", "--python", other, check=3), f"would go back to Python {before}")
        site.releaser("rebuild", "--python", "/nowhere/python", check=4)
    answer = site.json("rebuild")
    assert (answer["result"], answer["changes"], site.version("alpha")) == ("updated", [], "1.0.0")
    assert (site.live(), answer["previous"], site.head()) == (answer["release"], earlier.name, head)
    assert site.test_runs()[-1]["prefix"].startswith(str(site.release()))

    site.push_commit("Free it", {".python-version": f">={series}\n"})
    says(site.releaser("rebuild", check=3), "does not have the code", "releaser update")
    site.releaser("update", check=0)
    live = site.live()
    says(site.releaser("rebuild", "--python", other, "--dry-run", check=0), f"Python {after}")
    answer = site.json("rebuild", "--python", other)
    assert (answer["result"], answer["changes"], answer["previous"]) == ("updated", [], live)
    assert f"the same packages on Python {after}" in answer["headline"]
    assert (site.version("alpha"), site.json("list")[0]["python"]) == ("1.1.0", after)
    silent(site.releaser("update"))


@pytest.mark.slow
@pytest.mark.parametrize("pins", [False, True])
def test_law_11_what_does_not_build_on_another_python_moves(make_site: SiteFactory, *, pins: bool) -> None:
    """With it moves what `pins` it, and nothing else."""
    site, other = make_site(), other_python()
    wheel = site.index / "beta-1.0.0-py3-none-any.whl"
    name = wheel.name.replace("py3", RUNNING.name.replace("python", "cp").replace(".", ""))
    backend = f"""\
import base64, sys
def build_wheel(directory, *arguments):
    if sys.version_info[1] != {RUNNING.name.rpartition(".")[2]}:
        raise OSError("not on this Python")
    with open(f"{{directory}}/{name}", "wb") as file:
        file.write(base64.b64decode({base64.b64encode(wheel.read_bytes())!r}))
    return "{name}"
"""
    wheel.unlink()
    build_sdist(site.index, "beta", "1.0.0", backend)
    if pins:
        site.publish("alpha", "1.0.0", requires=["beta==1.0.0"])
    (site.path / "uv.lock").unlink()  # it names the wheel
    site.push_commit("Lock", lock=True)
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0", requires=["beta==1.1.0"] if pins else [])
    site.publish("localtools", "1.1.0")
    says(site.releaser("rebuild", "--python", other, check=4), "beta")
    site.publish("beta", "1.1.0")
    says(
        site.releaser("update", env={"RELEASER_PYTHON": str(other), "RELEASER_IGNORE": "beta"}, check=4),
        "On hold",
        "beta 1.0.0",
        "`ignore`",
    )
    moves = dict.fromkeys(("alpha", "beta", "localtools"), ("1.0.0", "1.1.0"))
    before = {name: moves[name] for name in ("alpha", "beta")[not pins :]}
    assert changes(site.json("rebuild", "--python", other)) == before
    assert changes(site.json("update")) == {name: move for name, move in moves.items() if name not in before}


@pytest.mark.slow
def test_check_runs_the_tests_before_init(fresh: SampleSite) -> None:
    """With the venv of a person, and without a trace."""
    site = fresh
    refused(site, "check", "--tests")
    site.make_venv()
    with no_change(site):
        says(site.releaser("check", "--tests", "-v", check=0), "The tests pass with", str(site.link))
    site.edit("shop.py", "BROKEN = True\n")
    refused(site, "check", "--tests")
    site.push_commit("Close the shop")
    with no_change(site):
        says(site.releaser("check", "--tests", check=5), "fails its tests", "the shop is closed")
        site.write_dotenv(shadow="off")
        says(site.releaser("check", "--tests", check=5), "fails its tests", "the shop is closed")
    assert not site.state.exists()
    mounted, _, unmounted = site.test_runs()
    for test_run in (mounted, unmounted):
        assert (test_run["prefix"] != str(site.link), test_run["versions"]["alpha"]) == (True, "1.0.0")


@pytest.mark.slow
def test_law_06_27_a_python_that_was_rolled_back_is_not_tried_each_night(site: SampleSite) -> None:
    other, minor = other_python(), RUNNING.name.rpartition(".")[2]
    check = f"{site.link}/bin/python -c 'import sys; sys.exit(sys.version_info[1] != {minor})'"
    site.write_dotenv(python=str(other), health_check=check)
    live = site.live()
    assert site.json("update", check=6)["release"] == live
    with no_change(site):
        says(site.releaser("update", check=5), "it was rolled back")
        assert site.releaser("update", check=5).stderr == ""
    site.publish("alpha", "1.1.0")
    site.write_dotenv(python=str(other), health_check="true")
    assert changes(site.json("update"))["alpha"] == ("1.0.0", "1.1.0"), "the rest goes on"
