"""Twelve ways to damage a live release: what `status`, `verify`, the next update and `rollback` say and do."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.scenes import changes, mostly_slow, no_change, refused, says, silent
from tests.e2e.test_shadow import BUILT_SITE, NEWS
from tests.support.commands import require
from tests.support.sites import SampleSite, SiteFactory
from tests.unit.test_startup_module import find_interpreters

Act = Callable[[SampleSite], object]
MET_DELETED = ["`git clean` deletes what a build has made", "uv #17897"]
ALL = {"alpha": "1.1.0", "beta": "1.0.0", "localtools": "1.0.0"}


@dataclass(frozen=True)
class Row:
    """A damage, the words that `status` and `verify` have for it, and what comes of it.

    The next update does what `update` says: it builds the release again, does nothing, or is refused, and builds with
    `--force`. `returns` is True if a rollback may go back to the damaged release. A site with `products` has some, and
    is installed editable.
    """

    act: Act
    says: str
    update: str = "build"
    returns: bool = False
    products: bool = False


def other_python() -> Path:
    """Return an interpreter of another version than that of the tests."""
    others = [path for path in find_interpreters() if path.name in ("python3.12", "python3.13")]
    require(bool(others), "another Python is needed")
    return others[0]


def run_other_python(site: SampleSite) -> None:
    """Let `uv run` make the venv again, through the link."""
    site.uv("run", "--quiet", "--frozen", "--no-dev", "--python", other_python(), "python", "-c", "")


def write(name: str, text: str) -> Act:
    """Return an act that gives a file of the packages another text, in the live release alone: releases share files."""

    def act(site: SampleSite) -> None:
        path = next(site.link.glob("lib/python*/site-packages")) / name
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")

    return act


def delete_module(site: SampleSite) -> None:
    """Delete a module of a package."""
    next(site.link.glob("lib/python*/site-packages/beta/__init__.py")).unlink()


def edit_both(site: SampleSite) -> None:
    """Edit a module, and write a comment into the configuration of the venv."""
    write("beta/__init__.py", "BROKEN = True")(site)
    config = site.link / "pyvenv.cfg"
    text = config.read_text(encoding="utf-8")
    config.unlink()
    config.write_text(f"{text}# mine\n", encoding="utf-8")


def link_package(site: SampleSite) -> None:
    """Move a package away, and let a link lead to it."""
    package = next(site.link.glob("lib/python*/site-packages/beta"))
    package.rename(site.base / "beta")
    package.symlink_to(site.base / "beta")


def link_other_python(site: SampleSite) -> None:
    """Let the venv start another Python."""
    python = site.link / "bin" / "python"
    python.unlink()
    python.symlink_to(other_python())


def upgrade_python(site: SampleSite) -> None:
    """Let the release be sealed with an earlier patch version of its Python, as before an upgrade of the host."""
    path = site.release() / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["sealed"]["python"] = manifest["key"]["python"] = f"3.{sys.version_info.minor}.0"
    path.write_text(json.dumps(manifest), encoding="utf-8")


def move(site: SampleSite) -> None:
    """Move the outer directory."""
    outer = site.outer.rename(site.base / "moved")
    site.outer, site.path, site.link = outer, outer / "site", outer / "site" / ".venv"
    site.state, site.index = outer / ".releaser" / "site", outer / "index"


ROWS = {
    "uv sync without the group": Row(
        lambda site: site.uv("sync", "--quiet", "--frozen"), "localtools 1.0.0 is missing"
    ),
    "uv pip uninstall": Row(
        lambda site: site.uv("pip", "uninstall", "--quiet", "--python", site.link / "bin/python", "beta"),
        "beta 1.0.0 is missing",
    ),
    "uv venv --clear": Row(lambda site: site.uv("venv", "--quiet", "--clear"), "alpha 1.1.0 is missing"),
    "uv run --python": Row(run_other_python, "its Python is 3.1"),
    "python -m venv --clear": Row(
        lambda site: site.run(Path(sys.executable).resolve(), "-m", "venv", "--clear", ".", cwd=site.link),
        "alpha 1.1.0 is missing",
    ),
    "a deleted file": Row(delete_module, "beta/__init__.py is missing"),
    "a file added to a package": Row(
        write("beta/notes.txt", "mine"), "beta/notes.txt was added", "nothing", returns=True
    ),
    "a module added by hand": Row(write("local_settings.py", ""), "local_settings.py was added", "refused"),
    "an edited module": Row(
        write("beta/__init__.py", "BROKEN = True"), "beta/__init__.py is not as it was sealed", "refused"
    ),
    "an edited module beside a line in pyvenv.cfg": Row(
        edit_both, "beta/__init__.py is not as it was sealed", "refused"
    ),
    "a link in place of a package": Row(link_package, "beta was added", "refused"),
    "another Python": Row(link_other_python, "its Python is 3.1"),
    "another patch version": Row(upgrade_python, f"and was 3.{sys.version_info.minor}.0", returns=True),
    "a moved directory": Row(move, "from where it imports shop", products=True),
    "a deleted product": Row(
        lambda site: (site.path / "made.py").unlink(), "made.py is missing", returns=True, products=True
    ),
}


@pytest.mark.parametrize("name", mostly_slow(ROWS, "uv sync without the group", met={"a deleted product": MET_DELETED}))
def test_law_05_19_20_39_a_damaged_release_is_named_and_repaired(make_site: SiteFactory, name: str) -> None:
    row = ROWS[name]
    if row.products:
        site = make_site(files=BUILT_SITE)
        site.releaser("init", check=0)
        site.push_from_elsewhere(NEWS)
        site.update_to("1.1.0", "localtools")
    else:
        site = make_site.live("1.1.0")
    packages, damaged = site.versions(), site.live()
    assert (site.json("status")["well"], site.json("verify")["well"]) == (True, True)
    row.act(site)
    for command in ("status", "verify"):
        problems = site.json(command, check=10)["problems"]
        assert row.says in str(problems), problems
    decision = row.update
    if decision == "refused":
        says(refused(site, "update"), row.says, "releaser update --force")
    elif decision == "nothing":
        with no_change(site):
            silent(site.releaser("update"))
    answer = site.json("update", *(["--force"] if decision == "refused" else []))
    assert (site.live() == damaged) == (decision not in ("build", "refused")), answer
    assert decision != "build" or row.says in str(answer["notes"]), answer["notes"]
    assert site.versions() == packages
    modules = "made, shop, localtools" if row.products else "alpha, beta, localtools"
    question = f"import {modules}, sys; print(sys.version_info[:2])"
    assert site.python(question) == str(sys.version_info[:2]) or "ython" in name
    holds = json.loads(site.releaser("status", "--json").stdout)["on_hold"]
    if site.live() == damaged:
        site.update_to("1.2.0", "localtools" if row.products else "alpha")
    if row.returns:
        assert (site.json("rollback", damaged)["release"], site.versions()) == (damaged, packages)
    else:
        with no_change(site):
            says(site.releaser("rollback", damaged, check=9), f"Release {damaged} is damaged")
        assert (holds, site.json("status")["on_hold"]) == ([], [])


@pytest.mark.met("a build appends to a file of a package")
@pytest.mark.slow
def test_law_27_39_what_was_sealed_is_not_built_again_each_night(make_site: SiteFactory) -> None:
    """Two packages own one file, `before_build` appends to a third, and a package writes its own data."""
    build = "import alpha, os\npath = alpha.__file__\ntext = open(path).read()\nos.unlink(path)\n"
    build += "open(path, 'w').write(text + 'CA = 1\\n')\n"
    site = make_site(files={"build.py": build})
    for name, text in (("left", "1"), ("right", "2")):
        modules = {f"{name}.py": "", "common.py": f"SIDE = {text}\n"}
        site.publish(name, "1.0.0", modules=modules)
    modules = {"keeper/__init__.py": "", "keeper/data.json": "{}"}
    site.publish("keeper", "1.0.0", modules=modules)
    site.replace("pyproject.toml", '"beta"', '"beta", "left", "right", "keeper"')
    site.push_commit("Grow", lock=True)
    site.write_dotenv(before_build="python build.py")
    site.releaser("init", check=0)
    first = site.live()
    assert site.python("import alpha; print(alpha.CA)") == "1"
    for _ in range(2):
        with no_change(site):
            silent(site.releaser("update"))
    assert (site.json("verify")["well"], site.json("status")["well"]) == (True, True)
    write("keeper/data.json", "[1]")(site)
    for _ in range(2):
        with no_change(site):
            silent(site.releaser("update"))
        (problem,) = site.json("status", check=10)["attention"]
        assert "keeper/data.json" in problem["message"]
    assert changes({"changes": site.json("diff", first, site.update_to("1.1.0"))}) == {"alpha": ("1.0.0", "1.1.0")}
    assert site.json("status")["well"]
    assert (site.json("rollback")["release"], site.python("import alpha; print(alpha.CA)")) == (first, "1")


@pytest.mark.met("programs and data in the venv")
@pytest.mark.met("packages are links into the cache of uv")
@pytest.mark.slow
def test_law_05_19_an_adopted_venv_is_kept_as_it_is(make_site: SiteFactory) -> None:
    """Its files are links into uv's cache, and a person has changed one; what would go is named before."""
    site = make_site()
    cache = site.base / "cache"
    site.uv("sync", "--quiet", "--frozen", "--group", "local", "--link-mode", "symlink", "--cache-dir", cache)
    others = {"bin/node": "", "nltk_data/words": "", "lib/node_modules/left/pad.js": ""}
    for name, text in others.items():
        (site.link / name).parent.mkdir(parents=True, exist_ok=True)
        (site.link / name).write_text(text, encoding="utf-8")
    with (site.link / "bin/activate").open("a", encoding="utf-8") as activate:
        activate.write("export DB_URL=postgres://live\n")
    for command in ("check", "init"):
        says(refused(site, command), "bin/node", "nltk_data", "lib/node_modules", "activate` sets DB_URL")
    for name in ("bin/node", "nltk_data", "lib/node_modules"):
        site.run("rm", "-r", site.link / name)
    site.run("sed", "-i", "/DB_URL/d", site.link / "bin/activate")
    write("beta/__init__.py", "__version__ = 'patched'\nBROKEN = False\n")(site)
    python = site.link / "bin" / "python"
    target = os.path.relpath(os.readlink(python), python.parent.resolve())
    python.unlink()
    python.symlink_to(target)
    assert "beta/__init__.py" in str(site.json("check")["hints"])
    assert "beta/__init__.py" in str(site.json("init")["notes"])
    adopted, question = site.live(), "import alpha, beta; print(alpha.__version__, beta.__version__)"
    site.run("rm", "-r", cache)
    assert (site.python(question), site.json("verify")["well"]) == ("1.0.0 patched", True)
    silent(site.releaser("update"))
    site.update_to("1.1.0")
    assert site.python(question) == "1.1.0 1.0.0"
    assert (site.json("rollback")["release"], site.python(question)) == (adopted, "1.0.0 patched")
    delete_module(site)
    assert "beta/__init__.py is missing" in str(site.json("verify", check=10)["faults"])


@pytest.mark.met("a service starts with `uv run`", "uv #16071", "uv #13825")
@pytest.mark.slow
def test_law_20_39_a_service_that_uv_run_starts_is_named_and_puts_no_other_lock_into_a_release(
    make_site: SiteFactory,
) -> None:
    """The committed lock has a version that is on hold here: `uv run` would put it into the live release."""
    site = make_site.live(files={"restart.sh": RESTART, "serve.py": SERVE})
    site.write_dotenv(restart="sh restart.sh")
    instead = "uv run --no-sync --frozen python serve.py"
    says(site.releaser("check", check=0), "restart.sh starts the site by `uv run`", instead)
    try:
        site.update_to("1.1.0", "beta")  # what `uv run` would put there is there
        site.releaser("hold", "alpha", check=0)
        for name in ("alpha", "beta"):
            site.publish(name, "1.2.0")
        site.push_from_elsewhere({}, upgrade=True)
        for command in ("check", "update --dry-run", "update"):
            finished = site.releaser(command, check=3)
            says(finished, "restart.sh starts the site by `uv run`", ": alpha 1.0.0 → 1.2.0", f"{instead} ")
        site.run("sh", "restart.sh")
        assert site.json("verify")["well"]
        site.push_from_elsewhere({"restart.sh": RESTART.replace("uv run", "uv run --no-sync")})
        site.releaser("update", check=0)
        assert (site.version("alpha"), site.version("beta"), site.json("verify")["well"]) == ("1.0.0", "1.2.0", True)
        site.write_dotenv(restart="true")  # as if a supervisor, whose settings nobody reads, had started it
        site.run("sh", "-c", RESTART.replace("VIRTUAL_ENV", "VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=../other"))
        site.update_to("1.2.1", "beta")  # a developer's own venv
        site.run("sh", "-c", RESTART.replace("uv run --frozen python serve.py", WAITING))
        site.publish("beta", "1.3.0")
        says(site.releaser("update", check=3), "Process ", "starts the site by `uv run`", ": alpha 1.0.0 → 1.2.0")
        site.write_dotenv(restart="sh restart.sh")
        site.run("sh", "-c", RESTART.replace("--frozen", "-P alpha"))  # by a person
        assert "uv-run" in [problem["code"] for problem in site.json("status", check=10)["attention"]]
        says(site.releaser("check", check=3), "Process ", "starts the site by `uv run`", "uv run --no-sync -P alpha")
    finally:
        site.run("sh", "restart.sh", "stop")


#: Has the name and the words of uv, and leaves the venv as it is.
WAITING = "bash -c 'mkfifo ../pipe; touch ../started; exec -a uv bash -s run serve <>../pipe'"
SERVE = "import os, time\nopen('../started', 'w').close()\ntime.sleep(600)\n"
RESTART = """\
[ -e ../pid ] && kill "$(cat ../pid)"; rm -f ../started
[ "$1" = stop ] && exit
env -u UV_NO_SYNC -u UV_PROJECT_ENVIRONMENT -u VIRTUAL_ENV setsid uv run --frozen python serve.py >/dev/null 2>&1 &
echo $! >../pid
until [ -e ../started ]; do sleep 0.1; done
"""
