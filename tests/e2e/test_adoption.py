"""Adoption: what a venv has beyond the lock is named before anything is changed, and kept if the site's people want."""

import re
import sys
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.scenes import changes, mostly_slow, refused, says, silent
from tests.e2e.test_sources import make_library
from tests.support.commands import Finished, require
from tests.support.servers import WAITING_TESTS
from tests.support.sites import SampleSite, SiteFactory

MEMBER = """[project]
name = "web"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["mu"]

[build-system]
requires = ["uv_build"]
build-backend = "uv_build"
"""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Something that a venv has beyond what lock and group install.

    `named` are the words of a refusal, `sync` the words of `uv sync` that install it; by hand come a package of the
    index, and a file of site-packages.
    """

    named: tuple[str, ...]
    sync: str = ""
    toml: str = ""
    files: dict[str, str] = field(default_factory=dict)
    by_hand: str = ""
    stray: str = ""


KINDS = {
    "an extra": Kind(
        named=("kappa 1.0.0", "the extra `prod`", 'extras = ["prod"]'), sync="--extra prod",
        toml='\n[project.optional-dependencies]\nprod = ["kappa"]\ndocs = []\n',
    ),
    "a dependency group": Kind(named=("prodtools 1.0.0", "group `prod`", 'group = "prod"'), sync="--group prod"),
    "a member": Kind(
        named=("mu 1.0.0", "web 1.0", "workspace", 'members = "all"'), sync="--all-packages",
        toml='\n[tool.uv.workspace]\nmembers = ["web"]\n',
        files={"web/pyproject.toml": MEMBER, "web/src/web/__init__.py": ""},
    ),
    "a package by hand": Kind(named=("nu 1.0.0", "uv add --no-sync 'nu~=1.0.0'", "uv pip uninstall"), by_hand="nu"),
    "a path file": Kind(named=("site paths.pth",), stray="site paths.pth"),
    "a module": Kind(named=("local_settings.py",), stray="local_settings.py"),
}  # fmt: skip
EVERYTHING = "everything at once"
CASES = {name: (kind,) for name, kind in KINDS.items()} | {EVERYTHING: (*KINDS.values(),)}
MET_BY_HAND = ["packages and path files by hand, and system packages", "uv #13960", "django-twc-project #240"]
MET = {
    "an extra": ["the venv has an extra", "PixelRAG #15", "Lobster #2191", "deer-flow #2767"],
    "a package by hand": MET_BY_HAND,
    "a path file": MET_BY_HAND,
    "a member": ["the venv has all members of a workspace", "uv #13664", "uv #6874"],
}


def make_venv(site: SampleSite, kinds: Collection[Kind]) -> None:
    """Commit what the kinds need, and make a venv that has them."""
    for name in ("kappa", "mu", "nu"):
        site.publish(name, "1.0.0")
    pyproject = (site.path / "pyproject.toml").read_text(encoding="utf-8") + "".join(kind.toml for kind in kinds)
    files = {path: text for kind in kinds for path, text in kind.files.items()}
    site.push_commit("Grow", {**files, "pyproject.toml": pyproject, "web/.gitignore": "__pycache__\n"}, lock=True)
    words = " ".join(kind.sync for kind in kinds).split()
    site.uv("sync", "--quiet", "--frozen", *words, *([] if "--group" in words else ["--group", "local"]))
    for kind in kinds:
        if kind.by_hand:
            site.uv("pip", "install", "--quiet", "--python", site.link / "bin" / "python", kind.by_hand)
        if kind.stray:
            (next(site.link.glob("lib/python*/site-packages")) / kind.stray).write_text("", encoding="utf-8")


def take_advice(site: SampleSite, finished: Finished) -> None:
    """Commit the settings that a refusal names, and run its commands for what no setting keeps."""
    settings = re.findall(r"Set `(.+?)` in `\[tool\.releaser\]`", finished.stderr)
    table = "\n".join(["\n[tool.releaser]", *settings, ""])
    site.push_commit("Keep", {"pyproject.toml": (site.path / "pyproject.toml").read_text("utf-8") + table})
    for command in re.findall(r"or remove it: `(.+?)`", finished.stderr):
        site.run("sh", "-c", command)


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(CASES, EVERYTHING, met=MET))
def test_law_19_what_an_update_would_remove_is_named_and_kept_or_not(make_site: SiteFactory, name: str) -> None:
    kinds = CASES[name]
    site = make_site(outer="a b")
    make_venv(site, kinds)
    before = site.versions()
    for command in ("check", "init", "update"):
        finished = refused(site, command)
        says(finished, *(word for kind in kinds for word in kind.named))
        assert (site.link.is_symlink(), site.json("list")) == (False, [])
        assert command != "check" or not site.state.parent.exists(), "a check makes no state"

    take_advice(site, finished)
    kept = {name: version for name, version in before.items() if name not in {kind.by_hand for kind in kinds}}
    assert site.releaser("check").returncode == 0
    site.releaser("init", check=0)
    assert site.versions() == kept
    site.update_to("1.1.0")
    assert site.versions() == kept | {"alpha": "1.1.0"}


@pytest.mark.met(*MET_BY_HAND)
@pytest.mark.slow
@pytest.mark.parametrize("option", ["--editable", "--no-deps"])
def test_law_19_a_library_by_hand_is_added_from_its_place(make_site: SiteFactory, option: str) -> None:
    """By its name alone, an index would bring another one."""
    site = make_site()
    for name, text in make_library("beside").items():
        site.edit(f"../beside/{name}", text)
    site.publish("beside", "9.0.0")
    site.make_venv()
    site.uv("pip", "install", "--quiet", "--python", site.link / "bin" / "python", option, site.outer / "beside")
    (command,) = re.findall(r"Run `(uv add .+?)` and commit", refused(site, "init").stderr)
    site.run("sh", "-c", command)
    site.push_commit("Keep it")
    site.releaser("init", check=0)
    site.update_to("1.1.0")
    assert site.version("beside") == "1"


@pytest.mark.slow
def test_law_19_a_package_by_hand_stays_after_the_command_that_adds_it(make_site: SiteFactory) -> None:
    site = make_site()
    make_venv(site, [KINDS["a package by hand"]])
    site.publish("nu", "2.0.0")
    before = site.versions()
    (command,) = re.findall(r"Run `(uv add .+?)` and commit", refused(site, "init").stderr)
    site.run("sh", "-c", command)
    assert site.versions() == before, "the running site has the same packages"
    site.push_commit("Keep nu")
    site.releaser("init", check=0)
    site.update_to("1.1.0")
    assert (site.versions(), before["nu"]) == (before | {"alpha": "1.1.0"}, "1.0.0")


@pytest.mark.met(*MET_BY_HAND)
@pytest.mark.slow
def test_law_19_system_packages_stay_visible_and_pip_is_no_reason(make_site: SiteFactory) -> None:
    site = make_site(files={"site_tests.py": WAITING_TESTS})
    site.run(Path(sys.executable).resolve(), "-m", "venv", "--system-site-packages", ".venv")
    site.uv("sync", "--quiet", "--frozen", "--inexact", "--group", "local")
    site.publish("nu", "1.0.0")
    site.publish("beta", "0.9.0")
    by_hand = ("pip", "install", "--quiet", "--python", site.link / "bin" / "python")
    site.uv(*by_hand, "beta==0.9.0")
    assert {"pip", "alpha"} <= {*site.versions()}
    seen = "import sys; print([path for path in sys.path if path.endswith('-packages')][1:])"
    assert (before := site.python(seen)) != "[]"
    site.releaser("check", check=0)
    site.releaser("init", check=0)
    site.uv(*by_hand, "nu")
    for command in ("check", "update"):
        says(refused(site, command), "edited: nu 1.0.0 is installed, but is not in the lock.", "update --force")
    site.uv("pip", "uninstall", "--quiet", *by_hand[3:], "nu")
    for version in ("1.1.0", "1.2.0"):
        site.update_to(version)
        assert site.python(seen) == before
    assert site.versions() == {"alpha": "1.2.0", "beta": "1.0.0", "localtools": "1.0.0"}


@pytest.mark.slow
def test_law_19_the_first_update_adopts_a_plain_venv_but_not_on_a_site_with_releases(make_site: SiteFactory) -> None:
    site = make_site()
    site.make_venv()
    site.publish("alpha", "1.1.0")
    inode, head = site.link.stat().st_ino, site.head()
    answer = site.json("update")
    assert (answer["result"], changes(answer)) == ("updated", {"alpha": ("1.0.0", "1.1.0")})
    adopted = answer["previous"]
    assert site.states() == {answer["release"]: "live", adopted: "previous"}
    assert ((site.release(adopted) / "venv").stat().st_ino, site.version("alpha")) == (inode, "1.1.0")
    assert (site.remote_head() == site.head() != head, site.status()) == (True, "")
    silent(site.releaser("update"))

    site.link.unlink()
    site.make_venv()
    for command in ("update", "check"):
        says(refused(site, command), ".venv", "releaser init", f"releaser rollback {answer['release']}")
    assert (site.link.is_symlink(), {*site.releases()}) == (False, {answer["release"], adopted})


@pytest.mark.slow
def test_law_19_an_update_names_the_packages_that_it_removes_first(make_site: SiteFactory) -> None:
    """More packages change than the message names."""
    many = {f"a{number}": "1.0.0" for number in range(9)}
    site = make_site.live(packages={**many, "zeta": "1.0.0"})
    for name in many:
        site.publish(name, "1.1.0")
    site.replace("pyproject.toml", ', "zeta"', "")
    site.push_commit("Drop zeta", lock=True)
    assert changes(site.json("update", "--dry-run"))["zeta"] == ("1.0.0", None)
    finished = site.releaser("update", check=0)
    says(finished, "is live: zeta 1.0.0 (removed), a0 1.0.0 → 1.1.0", "more")
    assert "zeta" not in site.versions()
    assert "zeta" in site.releaser("list", check=0).stdout


@pytest.mark.slow
@pytest.mark.parametrize("beside", ["a pin of another Python", "an older directory"])
def test_law_19_what_is_by_hand_is_named_whatever_lies_beside(make_site: SiteFactory, beside: str) -> None:
    other, own = Path("/usr/bin/python3"), f"python3.{sys.version_info.minor}"
    require(other.exists() and other.resolve() != Path(sys.executable).resolve(), "another Python is needed")
    site = make_site()
    make_venv(site, [KINDS["a package by hand"], KINDS["a module"]])
    if beside == "an older directory":
        (site.link / "lib" / "python3.10" / "site-packages" / "old-1.0.dist-info").mkdir(parents=True)
    else:
        site.push_commit("Pin", {".python-version": f"{other}\n"})
    says(finished := refused(site, "check"), "remove nu 1.0.0", f"{own}/site-packages/local_settings.py")
    take_advice(site, finished)
    site.releaser("init", check=0)
    assert [path.parts[-3] for path in site.link.glob("lib/*/*/_releaser.py")] == [own]


@pytest.mark.slow
@pytest.mark.parametrize("act", ["touch .venv", "mkdir .venv", "mkdir -p .venv/bin; ln -s x .venv/bin/python"])
def test_law_28_check_says_of_what_is_no_venv_what_init_says(make_site: SiteFactory, act: str) -> None:
    site = make_site()
    site.run("sh", "-c", act)
    (problem,) = site.json("check", check=3)["problems"]
    assert [site.json(command, check=3)["problems"] for command in ("init", "update")] == [[problem], [problem]]
    site.run("sh", "-c", *re.findall("`(mv .+?)`", problem["advice"]))
    site.releaser("init", check=0)


@pytest.mark.met("a wheel brings an empty directory")
@pytest.mark.slow
def test_law_19_27_an_empty_directory_of_a_wheel_is_nobodys_work(make_site: SiteFactory) -> None:
    site = make_site()
    site.publish("alpha", "1.0.1")
    with zipfile.ZipFile(site.index / "alpha-1.0.1-py3-none-any.whl", "a") as wheel:
        wheel.mkdir("alpha.libs")  # as auditwheel leaves it where it had no library to bring
    site.uv("lock", "--quiet", "--upgrade")
    site.push_commit("Upgrade")
    site.make_venv()
    (empty,) = site.link.glob("lib/python*/site-packages/alpha.libs")
    assert site.json("check")["hints"] == []
    site.releaser("init", check=0)
    for live in ("adopted", "built"):
        silent(site.releaser("update"))
        assert site.json("verify")["well"], live
        site.update_to("1.1.0", "beta")
    site.releaser("rollback", check=0)
    assert (site.json("verify")["well"], empty.is_dir()) == (True, True)
