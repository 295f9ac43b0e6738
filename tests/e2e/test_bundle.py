"""A release in one file: what `bundle create` puts into it, and what `bundle verify` refuses."""

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.scenes import BROKEN_CODE, no_change, refused, says, small_disk
from tests.e2e.test_bundle_install import installed, new_host
from tests.e2e.test_sources import make_library
from tests.support.commands import HOUSE, Finished, find_python, releaser_command, require, run
from tests.support.index import serve_index
from tests.support.sites import SampleSite, SiteFactory, SiteOptions
from tests.support.wheels import build_sdist

_SDIST = """\
import zipfile
def build_wheel(directory, settings=None, metadata=None):
    info = "tea-1.0.dist-info"
    files = {"tea.py": "LEAVES = 3\\n", f"{info}/METADATA": "Metadata-Version: 2.1\\nName: tea\\nVersion: 1.0\\n"}
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"{directory}/tea-1.0-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return "tea-1.0-py3-none-any.whl"
"""


def sign_up(site: SampleSite) -> Path:
    """Make a key, and let the site trust it."""
    key, signers = site.base / "ada", site.base / "signers"
    site.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    signers.write_text(f"ada@example.org {key.with_suffix('.pub').read_text('utf-8')}", "utf-8")
    site.write_dotenv(bundle_signers=str(signers))
    return key


def read_members(bundle: Path) -> dict[str, bytes]:
    """Return the members of a bundle."""
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.slow
def test_law_1_30_32_a_bundle_is_made_without_a_change_and_verified_by_its_signature(site: SampleSite) -> None:
    """The whole of it, as two people do it; tests/unit/test_bundle.py has the table of tamperings."""
    key, bundle = sign_up(site), site.base / "shop.bundle"
    with no_change(site):
        created = site.json("bundle create", "-o", bundle, "--sign", key)
    assert created["release"] == site.live()
    assert (created["commit"], created["signed"], created["packed"]) == (site.head(), True, [])
    shown = site.json("bundle verify", bundle)
    assert (shown["signer"], shown["release"]) == ("ada@example.org", site.live())
    words = ["-Y", "verify", "-n", "releaser-bundle", "-I", "ada@example.org", "-s", f"{bundle}.sig"]
    with bundle.open("rb") as file:
        subprocess.run(["ssh-keygen", *words, "-f", site.base / "signers"], stdin=file, check=True)

    whole, wrong = bundle.read_bytes(), site.base / "wrong.bundle"
    wrong.write_bytes(whole.replace(b"alpha/__init__.py", b"alpha/__evil__.py", 1))
    says(refused(site, "bundle verify", str(wrong)), "wheels/alpha-1.0.0", "Nothing of it was unpacked")
    says(refused(site, "bundle show", str(wrong)), "wheels/alpha-1.0.0")
    plain = site.base / "plain.bundle"
    site.releaser("bundle create", "-o", plain, check=0)
    says(refused(site, "bundle verify", str(plain)), "is not signed", "--unsigned")
    assert site.json("bundle verify", plain, "--unsigned")["signer"] == ""
    again = site.base / "again.bundle"
    site.releaser("bundle create", "-o", again, check=0)
    assert again.read_bytes() == plain.read_bytes(), "the same bytes"

    (site.base / "signers").chmod(0o666)
    says(refused(site, "bundle verify", str(bundle)), "Other users of this host may write")
    site.write_dotenv()
    says(refused(site, "bundle verify", str(bundle)), "`bundle_signers` is not set")


@pytest.mark.slow
def test_a_delta_has_what_its_base_has_not(site: SampleSite) -> None:
    base, bundle = site.base / "base", site.base / "delta"
    site.releaser("bundle create", "-o", base, check=0)
    site.push_from_elsewhere({"shop.py": "EDITION = 2\nBROKEN = False\n"})
    site.update_to("1.1.0")
    site.releaser("bundle create", "-o", bundle, "--base", base, check=0)
    members, shown = read_members(bundle), site.json("bundle verify", bundle, "--unsigned", "--base", base)
    assert {*members} == {
        *("code.bundle", "requirements.txt", "uv.lock.patch", "wheels/alpha-1.1.0-py3-none-any.whl", "manifest.json")
    }
    assert "wheels/beta-1.0.0-py3-none-any.whl" in shown["omitted"]
    assert bundle.stat().st_size < 1.1 * len(members["wheels/alpha-1.1.0-py3-none-any.whl"]) + 65536
    assert shown["base"] == hashlib.sha256(read_members(base)["manifest.json"]).hexdigest()
    (site.base / "code").write_bytes(members["code.bundle"])
    assert site.git("bundle", "list-heads", site.base / "code").split("\n") == [
        f"{site.head()} HEAD",
        f"{site.head()} refs/heads/main",
    ]
    again = site.base / "again"
    site.releaser("bundle create", "-o", again, "--base", bundle, check=0)
    assert {*read_members(again)} == {"manifest.json"}, "nothing has changed since"
    lie = site.base / "lie"
    lie.write_bytes(base.read_bytes().replace(b"alpha/__init__.py", b"alpha/__evil__.py", 1))
    says(refused(site, "bundle create", "-o", str(again), "--base", str(lie)), "wheels/alpha-1.0.0")
    earlier = site.releases()[0]
    says(refused(site, "bundle create", earlier, "-o", str(again), "--base", str(bundle)), "newer than this release")
    site.releaser("bundle create", earlier, "-o", again, check=0)
    assert read_members(again) == read_members(base), "an earlier release is the same as ever"


def test_law_28_what_no_bundle_can_be_made_of_is_refused(site: SampleSite) -> None:
    text, bundle = site.edit("notes.ignored", "mine"), str(site.base / "x")
    says(refused(site, "bundle create", "-o", str(text)), f"`{text}` exists, and is no bundle")
    assert text.read_text("utf-8") == "mine"
    says(refused(site, "bundle create", "nothing", "-o", bundle, code=9), "No release `nothing`")
    site.push_from_elsewhere(BROKEN_CODE)
    site.releaser("update", check=5)
    failed = site.releases()[-1]
    says(refused(site, "bundle create", failed, "-o", bundle), f"Release {failed} is failed")
    says(refused(site, "bundle create", "-o", bundle, "--sign", bundle), "has not signed")
    package = site.release() / "venv/lib"
    module = next(package.glob("python*/site-packages/alpha/__init__.py"))
    module.chmod(0o644)
    module.write_text("evil = 1\n")
    says(refused(site, "bundle create", "-o", bundle), "is not as it was sealed", "alpha/__init__.py")
    assert not Path(bundle).exists()


def test_law_12_a_disk_without_room_for_a_bundle_is_named(site: SampleSite) -> None:
    require(os.geteuid() == 0, "root mounts a small file system")
    place = site.base / "small"
    place.mkdir()
    with small_disk(place, "1m"):
        for words, variables in ((("-o", f"{place}/x"), {}), (("-o", f"{site.base}/x"), {"TMPDIR": str(place)})):
            finished = refused(site, "bundle create", *words, code=4, env=variables)
            says(finished, f"The file system of {place}", "more are needed")
            assert not os.listdir(place)


@pytest.mark.slow
def test_a_shallow_clone_makes_no_bundle_until_it_is_whole(make_site: SiteFactory) -> None:
    site = make_site()
    site.commit("Second", {"b.py": ""})
    site.push()
    place = site.path.with_name("whole")
    site.path.rename(place)
    site.git("clone", "--quiet", "--depth=1", f"file://{site.remote}", site.path, cwd=site.outer)
    (site.path / "config/tmp").mkdir(parents=True, exist_ok=True)
    site.releaser("init", check=0)
    finished = refused(site, "bundle create", "-o", str(site.base / "x"))
    says(finished, "shallow clone", "fetch --unshallow")
    site.git("fetch", "--quiet", "--unshallow")
    site.releaser("bundle create", "-o", site.base / "x", check=0)


VERSIONS = """\
[buildout]
find-links = ../index
[versions]
Django = 5.2.8
gunicorn = 23.0.0  # for the server
zc.recipe.egg = 2.0.7
[test]
recipe = zc.recipe.testrunner
"""


@pytest.mark.slow
def test_the_lines_of_the_guide_make_a_bundle_of_a_buildout(make_site: SiteFactory) -> None:
    site = make_site(packages={"django": "5.2.8", "gunicorn": "23.0.0"})
    site.publish("django", "5.2.9")
    site.git("rm", "--quiet", "uv.lock")
    uv = '[tool.uv]\nno-index = true\nfind-links = ["../index"]\n'
    site.push_commit("With buildout", {"versions.cfg": VERSIONS, "pyproject.toml": uv, ".gitignore": ""})
    guide = (HOUSE / "docs" / "from-buildout.md").read_text("utf-8")
    lines = "".join(re.findall(r"^```sh\n(.*?)^```", guide, re.MULTILINE | re.DOTALL))
    site.env["PATH"] = f"{Path(releaser_command()[0]).parent}:{site.env['PATH']}"
    says(site.run("sh", "-eux", "-c", lines), "Not locked, since no package needs it: zc-recipe-egg")
    wheels = [
        {name for name in read_members(site.outer / file) if name.startswith("wheels/")}
        for file in ("shop.bundle", "shop.delta")
    ]
    assert wheels[0] == {"wheels/django-5.2.8-py3-none-any.whl", "wheels/gunicorn-23.0.0-py3-none-any.whl"}
    assert wheels[1] == {"wheels/django-5.2.9-py3-none-any.whl"}
    assert site.status() == ""


@pytest.mark.slow
def test_law_1_29_38_wheels_come_by_their_hashes_and_what_has_none_as_it_was_tested(make_site: SiteFactory) -> None:
    """An index with a password; a wheel that it has lost; an sdist; git; a project, and a library beside it."""
    site, token = make_site(), "Basic Ym90Omh1bnRlcjJzZWNyZXQ="  # bot:hunter2secret
    library = make_library("of_git")
    make_repository(site, library | {"backend.py": library["backend.py"].replace("'of_shop'", "'of_git'")})
    for name, text in make_library("beside").items():
        (site.outer / "beside").mkdir(exist_ok=True)
        (site.outer / "beside" / name).write_text(text, "utf-8")
    build_sdist(site.index, "tea", "1.0", _SDIST)
    with serve_index(site.outer, lambda authorization: authorization == token) as served:
        tables = '[tool.uv.sources]\nbeside = { path = "../beside", editable = true }\n'
        tables += f'of-git = {{ git = "file://{site.base}/lib" }}\n'
        packages = dict.fromkeys(("alpha", "beta", "tea", "beside", "of-git"), "1")
        index = f'[[tool.uv.index]]\nname = "own"\nurl = "{served.server}/index/simple"\ndefault = true\n'
        (site.outer / "more").mkdir()
        text = SiteOptions(packages=packages).pyproject().replace("no-index = true\n", "").replace("/index", "/more")
        site.write_dotenv({"UV_INDEX_OWN_USERNAME": "bot", "UV_INDEX_OWN_PASSWORD": "hunter2secret"})
        site.env |= {"UV_INDEX_OWN_USERNAME": "bot", "UV_INDEX_OWN_PASSWORD": "hunter2secret"}
        library = make_library("shop")
        build = library["pyproject.toml"].partition("[build-system]")[2]
        site.edit("pyproject.toml", f"{text}\n[build-system]{build}\n{tables}{index}")
        for name in ("backend.py", "content.py"):
            site.edit(name, library[name])
        site.uv("lock", "--quiet")
        site.commit("Packages from everywhere")
        site.push()
        del site.env["UV_INDEX_OWN_USERNAME"], site.env["UV_INDEX_OWN_PASSWORD"]
        site.releaser("init", check=0)
        (site.index / "beta-1.0.0-py3-none-any.whl").unlink()
        bundle, netrc = site.base / "x", Path(site.env["HOME"], ".netrc")
        netrc.write_text("machine\nfoo bar\n", "utf-8")
        site.write_dotenv()
        says(refused(site, "bundle create", "-o", str(bundle), code=4), "A wheel cannot be fetched", str(netrc))
        site.write_dotenv({"UV_INDEX_OWN_USERNAME": "bot", "UV_INDEX_OWN_PASSWORD": "hunter2secret"})
        with no_change(site):
            created = site.json("bundle create", "-o", bundle)
        assert created["packed"] == ["wheels/beta-1.0.0-py3-none-any.whl"]
    members = read_members(bundle)
    assert members["wheels/alpha-1.0.0-py3-none-any.whl"] == (site.index / "alpha-1.0.0-py3-none-any.whl").read_bytes()
    assert b"hunter2secret" not in bundle.read_bytes()
    sources = {entry["name"]: entry["source"] for entry in json.loads(members["manifest.json"])["packages"]}
    assert sources["of-git"].startswith(f"file://{site.base}/lib ")
    venv = install(site, members)
    for name in ("alpha", "beta", "tea", "beside", "of_git", "of_shop"):
        site.run(venv / "bin/python", "-I", "-c", f"import {name}")
    (site.base / "other").mkdir()
    host = new_host(site.base / "other")
    for _ in range(2):  # the second one looks at the first: a package of git is one by its commit
        installed(host, bundle)
    assert host.json("status")["attention"] == []


def make_repository(site: SampleSite, files: Mapping[str, str]) -> None:
    """Make a git repository with a library."""
    place = site.base / "lib"
    place.mkdir()
    for name, text in files.items():
        (place / name).write_text(text, "utf-8")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "First"]):
        site.git(*words, cwd=place)


def install(site: SampleSite, members: Mapping[str, bytes]) -> Path:
    """Install the wheels of a bundle into a venv, without a network."""
    place = site.base / "unpacked"
    (place / "wheels").mkdir(parents=True)
    for name, data in members.items():
        if name.startswith("wheels/") or name == "requirements.txt":
            (place / name).write_bytes(data)
    venv = place / "venv"
    site.uv("venv", "--quiet", venv)
    words = ["--offline", "--no-index", "--require-hashes", "--find-links", str(place / "wheels"), "--no-config"]
    site.uv("pip", "sync", "--quiet", *words, "--python", venv / "bin/python", place / "requirements.txt")
    return venv


@pytest.mark.slow
def test_the_lines_of_the_guide_do_what_it_says(site: SampleSite) -> None:
    guide = (HOUSE / "docs" / "bundles.md").read_text("utf-8")
    lines = "".join(re.findall(r"^```sh\n(.*?)^```", guide, re.MULTILINE | re.DOTALL))
    site.env["PATH"] = f"{Path(releaser_command()[0]).parent}:{site.env['PATH']}"
    finished = site.run("sh", "-eux", "-c", lines)
    assert 'Good "releaser-bundle" signature for ada@example.org' in finished.stdout + finished.stderr
    assert read_members(site.outer / "shop.delta").keys() == {"manifest.json", "manifest.json.sig"}


@pytest.mark.slow
def test_law_28_36_a_bundle_starts_with_another_python_than_its_own_and_says_what_is_missing(site: SampleSite) -> None:
    """A job may have the site's Python 3.8 alone, and a host a newer one first in PATH than that of the bundle."""
    bundle, base = site.base / "shop.bundle", site.base
    site.releaser("bundle create", "-o", bundle, check=0)

    def start(*words: str | Path, python: Path = Path(sys.executable), code: int = 0, **env: str) -> Finished:
        changes = {"HOME": str(base / "new"), "TMPDIR": str(base), "RELEASER_ENVIRONMENT": "local"} | env
        return run([python, bundle, *words], cwd=base, env={**site.env, **changes}, check=code)

    old, new = find_python("3.8"), find_python("3.13")
    says(start("run", "--", "true", PATH="/nothing", code=1), "`git`: No such file", "TMPDIR")
    assert start("run", "--", "python", "-c", "import alpha; print(alpha.__version__)", python=old).stdout == "1.0.0\n"
    start("install", "--into", base / "new/site", "--unsigned", python=new)
    assert (base / "new/site/.venv").is_symlink()
    whole = bundle.read_bytes()
    bundle.write_bytes(whole.replace(b"alpha/__init__.py", b"alpha/__evil__.py", 1))
    says(start("verify", code=1), "is damaged", "wheels/alpha-1.0.0")
