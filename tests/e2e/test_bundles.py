"""Bundles: a release in one file, which a host without an index or a remote installs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path

import pytest

from releaser.system.temporary import PREFIX
from tests.e2e.test_several_hosts import second_host
from tests.e2e.test_without_git import without_git
from tests.support.guards import require
from tests.support.signing import make_key
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import write_files
from tests.support.wheels import BACKEND, build_sdist

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "bundles.md"


def host_of(site: SampleSite, base: Path, signers: Path) -> SampleSite:
    """Return another host with the project as it is now, from which neither index nor remote can be reached."""
    host = site.copy(base)
    for one in (host.index.path, host.remote):
        shutil.rmtree(one, ignore_errors=True)
    host.git("remote", "remove", "origin")
    host.write_dotenv({"RELEASER_BUNDLE_SIGNERS": str(signers)})
    return host


def _wheel_of(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, data)
    return file.getvalue()


def state_of(host: SampleSite) -> object:
    """Return all that a refused bundle must not change: checkout, live release, releases, and files of bundles."""
    return host.snapshot(), host.live_id(), host.releases(), sorted(map(str, (host.state_dir / "bundles").rglob("*")))


def typed(start: str) -> str:
    """Return the command of docs/guides/bundles.md that starts so."""
    found = re.search(rf"(?m)^(?:\$ )?({re.escape(start)}.*)$", GUIDE.read_text(encoding="utf-8"))
    assert found, start
    return found[1]


class Built:
    """A site with releases beyond the first, a bundle of each, the deltas between them, and who may sign."""

    def __init__(self, make_scene: SiteFactory, base: Path, *versions: str) -> None:
        self.key, self.signers = make_key(base)
        line = self.signers.read_text(encoding="utf-8")
        self.signers.write_text(line.replace('-bundle"', '-bundle,releaser-channel"'), encoding="utf-8")
        self.site = site = make_scene(outer=base.name, venv=True, settings={"bundle_include": ["media"]})
        (site.path / ".git" / "info" / "exclude").write_text("media/\n", encoding="utf-8")
        site.releaser("init", check=0)
        #: The site as it was before, on a host of its own.
        self.before = host_of(site, base / "before", self.signers)
        site.write_dotenv({"RELEASER_BUNDLE_SIGNERS": str(self.signers)})
        (site.path / "media" / "small").mkdir(parents=True)
        (site.path / "media" / "logo.txt").write_text("a logo\n", encoding="utf-8")
        (site.path / "media" / "small" / "logo.txt").touch()
        self.releases, self.bundles, self.deltas = list[str](), list[Path](), list[Path]()
        for version in versions:
            site.edit("code.py", f"VERSION = {version!r}\n")
            site.push_commit(f"for {version}")
            site.update_to("alpha", version)
            self.releases.append(site.live_id())
            self.bundles.append(self.type("releaser bundle create --sign", base / f"{version}.bundle"))
            if len(self.bundles) > 1:
                self.deltas.append(self.type("releaser bundle create --base", base / f"{version}.delta"))

    def bundle(self, file: Path, *words: str | Path) -> Path:
        """Write a signed bundle: it has releaser in it, unless it is a delta."""
        self.site.releaser("bundle create", *words, "--sign", self.key, "-o", file, check=0)
        return file

    def type(self, start: str, file: Path) -> Path:
        """Write a bundle by the command of docs/guides/bundles.md that starts so."""
        words = typed(start).replace("~/.ssh/id_ed25519", str(self.key)).split()
        assert words[-2] == "-o"
        self.site.releaser("bundle create", *words[3:-1], file, check=0)
        return file


@pytest.fixture(scope="module")
def built(make_scene: SiteFactory, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(make_scene, tmp_path_factory.mktemp("bundles"), "1.1.0", "1.2.0")


@pytest.fixture
def host(built: Built, tmp_path: Path) -> SampleSite:
    return built.before.copy(tmp_path / "host")


def test_a_release_is_installed_from_a_file_and_from_a_delta_and_rolled_back(
    built: Built, host: SampleSite, tmp_path: Path
) -> None:
    """What is older than what is live, or was tampered with, is refused, and nothing has changed."""
    would = host.releaser("bundle install", "--dry-run", built.bundles[0], check=0).stdout
    assert "without a network, test it, and make it live" in would
    assert host.live_version("alpha") == "1.0.0"
    (host.path / "media").mkdir()
    (host.path / "media" / "logo.txt").symlink_to("gone")  # of somebody here
    (host.path / ".git" / "info" / "exclude").write_text("media/\n", encoding="utf-8")
    refused = host.json("bundle install", built.deltas[0], check=3)["problems"][0]
    assert refused.startswith("this delta needs ")
    assert "wheels/beta-" in refused
    assert "Install the full bundle" in refused

    report = host.json("bundle install", built.bundles[0])
    assert (report["result"], host.live_version("alpha")) == ("updated", "1.1.0")
    assert "builder@example.org" in str(report["steps"])
    status = host.json("status")
    assert status["last_success"]["command"] == status["last_deployment"]["command"] == "bundle install"
    assert (host.path / "media" / "logo.txt").is_symlink()
    assert "the bundle's file did not replace it" in str(report["problems"])
    (host.path / "media" / "logo.txt").unlink()
    assert built.deltas[0].stat().st_size < 1e5 < built.bundles[1].stat().st_size
    cannot = subprocess.run([sys.executable, built.deltas[0]], capture_output=True, text=True, check=False)
    assert "does not contain releaser: it is a delta" in cannot.stderr
    report = host.json("bundle install", built.deltas[0])
    assert (report["result"], host.live_version("alpha")) == ("updated", "1.2.0")
    assert (host.path / "media" / "logo.txt").read_text(encoding="utf-8") == "a logo\n"
    assert host.lock_text() == built.site.lock_text()
    assert host.head() == built.site.head()
    assert host.git("status", "--porcelain", "--untracked-files=no") == ""
    made = json.loads((host.state_dir / "releases" / host.live_id() / "manifest.json").read_text(encoding="utf-8"))
    assert made["bundle"]["release"] == built.releases[1]
    assert host.json("bundle install", built.bundles[1])["result"] == "no-changes"

    shutil.copytree(built.site.index.path, host.index.path, dirs_exist_ok=True)
    host.publish("beta", "1.1.0")
    for own in (False, True):
        if own:  # what is live, no bundle has brought
            host.releaser("update", env={"RELEASER_GIT_PULL": "false", "RELEASER_GIT_PUSH": "false"}, check=0)
        refused = host.json("bundle install", built.bundles[0], check=3)["problems"][0]
        assert "is older than the live release" in refused
    before, tampered = state_of(host), tmp_path / "tampered.bundle"
    assert host.live_version("beta") == "1.1.0"
    # tests/pipelines/test_tampered_bundles.py has every way to do that.
    tampered.write_bytes(built.bundles[1].read_bytes().replace(b"a logo\n", b"A logo\n"))
    assert "is damaged" in host.json("bundle install", tampered, check=3)["problems"][0]
    assert state_of(host) == before
    host.releaser("rollback", check=0)
    assert (host.live_version("alpha"), host.live_version("beta")) == ("1.2.0", "1.0.0")


def test_nobody_is_asked_whatever_the_settings_name(built: Built, host: SampleSite) -> None:
    env = {
        "RELEASER_ATTESTATIONS": "require",
        "RELEASER_SOURCES": "s3://wheels",
        "RELEASER_VULNERABILITY_SERVICE": "https://127.0.0.1:9/",
        "RELEASER_CONSTRAINTS": "/nowhere/limits.txt",
        "RELEASER_MIN_AGE": "7d",
    }
    told = host.releaser("check", env=env, check=3).stderr
    assert ("limits.txt cannot be read" in told, "no remote" in told, "`sources`" in told) == (True, True, True)
    report = host.json("bundle install", built.bundles[0], env=env)
    assert (report["result"], host.live_version("alpha")) == ("updated", "1.1.0")
    assert (report["audit"], report["audit_reason"]) == ("", "")
    assert not {"attestations", "push"} & {one["step"] for one in report["steps"]}


def test_the_same_release_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    again, unused = tmp_path / "again.bundle", built.site.state_dir / "bundles" / "made" / "alpha-1.0.0"
    unused.mkdir(parents=True)
    os.utime(unused, (0, 0))
    on_another_disk = tempfile.mkdtemp(dir="/dev/shm" if str(tmp_path).startswith("/tmp") else "/tmp")
    built.site.git("gc", "--quiet")  # which packs again what a bundle of git would take as it is
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(built.site.env, "TMPDIR", on_another_disk)
        built.bundle(again, built.releases[1])
    shutil.rmtree(on_another_disk)
    assert not unused.exists()
    assert again.read_bytes() == built.bundles[1].read_bytes()
    shown = built.site.json("bundle show", again)
    assert (shown["release"], shown["signer"]) == (built.releases[1], None)
    assert built.site.json("bundle verify", again, "--signers", built.signers)["signer"] == "builder@example.org"
    difference = built.site.json("bundle diff", *built.bundles)
    assert [(one["name"], one["old"], one["new"]) for one in difference["changes"]] == [("alpha", "1.1.0", "1.2.0")]
    assert difference["new_bytes"] < 100_000


# With directories of the test in place of those that programs of all users are in.
ELSEWHERE = 'mount --bind "$0/opt" /opt && mount --bind "$0/bin" /usr/local/bin && exec "$@"'


def test_an_empty_host_gets_checkout_and_venv_with_python_alone(built: Built, tmp_path: Path) -> None:
    """The host has no releaser, no uv and no network: the file starts by itself, and puts releaser on PATH."""
    name, home = built.site.path.name, tmp_path / "home"
    site = tmp_path / "srv" / name
    dead, foreign = (site.with_name(f".{name}.{PREFIX}{letter * 8}") for letter in "ab")
    for one in (home, site.parent, dead, tmp_path / "opt", tmp_path / "bin"):
        one.mkdir(mode=0o700)
    (dead / "code.bundle").touch()  # as a killed run leaves it
    foreign.symlink_to(home)
    env = {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "UV_PYTHON_DOWNLOADS": "never"}
    env |= {"RELEASER_GROUP": "local"}
    offline = ["unshare", "-rnm", "sh", "-c", ELSEWHERE, str(tmp_path)]
    mounts = subprocess.run([*offline, "true"], check=False).returncode == 0
    require(mounts, "a network namespace, and mounts in it, are needed")

    def run(*words: str | Path, cwd: Path = Path("/")) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*offline, *words], env=env, capture_output=True, text=True, check=False, cwd=cwd)

    file = built.bundle(tmp_path / "whole.bundle", "--extra", "s3")
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    assert any(one.startswith("tools/uv-") for one in names)
    foreign_uv = tmp_path / "foreign.bundle"  # whose uv runs on another platform
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(foreign_uv, "w") as changed:
        manifest = json.loads(archive.read("manifest.json"))
        for one in manifest["files"]:
            data = archive.read(one["path"])
            if one["path"].startswith("tools/uv-"):
                data = _wheel_of("uv-1.data/scripts/uv", b"\x7fELF of another machine")
                one["sha256"] = hashlib.sha256(data).hexdigest()
            if one["path"].startswith(("tools/", "__main__")):
                changed.writestr(one["path"], data)
        changed.writestr("manifest.json", json.dumps(manifest))
    here = "{}.{}".format(*sys.version_info)
    refused = run(sys.executable, foreign_uv)
    assert f"the bundle has releaser for Python {here} on " in refused.stderr
    assert "Traceback" not in refused.stderr
    assert any(one.startswith("tools/venv_releaser-") for one in names)
    names_here = {"shop.bundle": file, "signers": built.signers, "/srv/shop_stuff/shop": site}
    words = [sys.executable, *(str(names_here.get(word, word)) for word in typed("python3 shop.bundle").split()[1:])]
    assert f"create the project in {site}" in run(*words, "--dry-run").stdout
    assert not site.exists()
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert "/usr/local/bin/releaser is /opt/releaser-bundled/bin/releaser" in done.stderr
    assert (dead.exists(), foreign.is_symlink()) == (False, True)
    assert (site / ".venv").is_symlink()
    python = site / ".venv" / "bin" / "python"
    assert subprocess.check_output([python, "-c", "import alpha; print(alpha.__version__)"]) == b"1.2.0\n"
    assert (site / "media" / "logo.txt").exists()
    ran = run("releaser", "history", "--json", cwd=site)
    assert ": the first release, with " in ran.stdout, ran
    assert run("/opt/releaser-bundled/venv/bin/python", "-c", "import boto3").returncode == 0
    (tmp_path / "bin" / "releaser").unlink()
    (tmp_path / "bin" / "releaser").write_text("#!/bin/sh\necho of a person\n", encoding="utf-8")
    second = run(*words, "--dry-run")
    assert second.returncode == 0, second.stderr
    assert "/usr/local/bin/releaser exists and was not replaced; the releaser of this bundle is" in second.stderr
    assert f"to repeat: `/opt/releaser-bundled/bin/releaser bundle install {file}`" in second.stderr
    assert "of a person" in (tmp_path / "bin" / "releaser").read_text(encoding="utf-8")
    link = tmp_path / "own" / "releaser"
    for said in (f"{link} is {home}/.local/share/releaser/installed/bin/releaser\n", ""):
        assert run(sys.executable, file, "--only-releaser", link).stdout == said
    assert run(link, "--version").returncode == 0


def test_what_fails_here_stays_out_and_what_breaks_the_site_goes_back(built: Built, host: SampleSite) -> None:
    red = {"RELEASER_TEST_COMMAND": "false", "RELEASER_BUNDLE_SIGNERS": str(built.signers)}
    host.write_dotenv(red)
    report = host.json("bundle install", built.bundles[0], check=5)
    assert (report["result"], host.live_version("alpha")) == ("refused", "1.0.0")
    failed = host.outer / "failed"
    ill = {"RELEASER_HEALTH_CHECK": "false", "RELEASER_HEALTH_RETRIES": "0", "RELEASER_ON_FAILURE": f"touch {failed}"}
    report = host.json("bundle install", built.bundles[0], "--tests", "never", "--force", check=6, env=ill)
    assert (report["result"], host.live_version("alpha"), failed.exists()) == ("rolled-back", "1.0.0", True)
    (elsewhere := host.outer / "elsewhere").mkdir()
    shutil.rmtree(host.path / "media")
    (host.path / "media").symlink_to(elsewhere)
    (host.path / ".git" / "info" / "exclude").write_text("/media\n", encoding="utf-8")
    report = host.json("bundle install", built.bundles[0], "--tests", "never", "--force")
    assert (list(elsewhere.iterdir()), "a symlink or a file is in the way" in str(report["problems"])) == ([], True)
    assert (report["result"], host.live_version("alpha")) == ("updated", "1.1.0")
    assert "The tests were skipped here; they passed" in report["noted"]


def test_files_beside_the_code_are_tested_go_live_and_go_back_with_the_release(built: Built, host: SampleSite) -> None:
    """What the tests, the health check and a rollback find there is what the release was made with."""
    logo, trusted = host.path / "media" / "logo.txt", {"RELEASER_BUNDLE_SIGNERS": str(built.signers)}
    (host.path / "media").mkdir(exist_ok=True)
    (host.path / "media" / "upload.txt").write_text("of a visitor", encoding="utf-8")
    (host.path / ".git" / "info" / "exclude").write_text("/media\n", encoding="utf-8")
    host.write_dotenv({"RELEASER_TEST_COMMAND": "grep -q logo media/logo.txt media/upload.txt", **trusted})
    check = host.outer / "check.sh"  # which the release before passes without any
    check.write_text(
        'ls .venv/lib/*/site-packages | grep -q "alpha-$1" || grep -q "$2" media/logo.txt\n', encoding="utf-8"
    )

    def healthy(before: str, text: str) -> dict[str, str]:
        return {"RELEASER_HEALTH_CHECK": f"sh {check} {before} {text}", "RELEASER_HEALTH_RETRIES": "0"}

    report = host.json("bundle install", built.bundles[0], env=healthy("1.0.0", "nothing"), check=6)
    assert (report["result"], logo.exists()) == ("rolled-back", False)
    host.json("bundle install", built.bundles[0], "--force", env=healthy("1.0.0", "logo"))
    assert logo.read_text(encoding="utf-8") == "a logo\n"

    media = built.site.path / "media" / "logo.txt"
    media.write_text("another logo\n", encoding="utf-8")
    try:
        built.site.releaser("rebuild", check=0)
        other = built.bundle(host.outer / "other.bundle")
    finally:
        media.write_text("a logo\n", encoding="utf-8")
        built.site.releaser("rollback", check=0)
    host.write_dotenv({"RELEASER_TEST_COMMAND": "grep -q another media/logo.txt", **trusted})
    host.json("bundle install", other, env=healthy("1.1.0", "another"))
    assert logo.read_text(encoding="utf-8") == "another logo\n"
    host.releaser("rollback", check=0)
    assert logo.read_text(encoding="utf-8") == "a logo\n"
    first = min(host.releases())
    host.releaser("rollback", first, check=0)
    assert (logo.exists(), (host.path / "media" / "upload.txt").exists()) == (False, True)

    logo.write_text("of somebody here", encoding="utf-8")
    report = host.json("bundle install", other, "--force", check=5)
    assert (logo.read_text(encoding="utf-8"), "was edited here" in str(report["problems"])) == (
        "of somebody here",
        True,
    )
    (host.path / "media").rename(host.outer / "aside")
    (host.path / "media").write_text("in the way", encoding="utf-8")
    host.write_dotenv(trusted)
    words = ("--to", channel := host.outer / "channel", "--name", "production", "--sign", built.key)
    built.site.releaser("channel publish", other, *words, check=0)
    report = host.json("update", "--from", f"{channel}/production", "--force")
    assert (report["result"], "in the way" in str(report["problems"])) == ("updated", True)
    (host.path / "media").unlink()
    host.releaser("update", "--from", f"{channel}/production", "--force", check=0)
    assert logo.read_text(encoding="utf-8") == "another logo\n"


def test_the_settings_of_a_site_or_of_one_to_be_say_which_signatures_count(
    built: Built, host: SampleSite, tmp_path: Path
) -> None:
    """tests/pipelines/test_tampered_bundles.py has what else can be wrong with a signature."""
    public = built.key.with_suffix(".pub")
    install = partial(host.releaser, "bundle install", built.bundles[0], "--dry-run")
    host.write_dotenv({"RELEASER_BUNDLE_SIGNERS": str(built.signers), "RELEASER_BUNDLE_REVOKED": str(public)})
    assert f"its key is revoked in {public}" in install(check=3).stderr
    beside = tmp_path / "new" / "shop"  # where no project is yet, but the settings of one
    beside.parent.mkdir()
    settings = f"RELEASER_BUNDLE_SIGNERS={built.signers}\nRELEASER_BUNDLE_REVOKED={public}\n"
    (beside.parent / ".env").write_text(settings, encoding="utf-8")
    told = host.releaser("bundle install", built.bundles[0], "--into", beside, check=3).stderr
    assert "its key is revoked" in told
    assert [one.name for one in beside.parent.iterdir()] == [".env"]
    host.write_dotenv({"RELEASER_BUNDLE_SIGNERS": None})
    assert "no trusted signers are set" in install(check=3).stderr
    install("--unsigned", check=0)


def test_a_bundle_cannot_have_what_was_never_tested_or_lies_elsewhere(built: Built, tmp_path: Path) -> None:
    file = tmp_path / "no.bundle"
    first = min(built.site.releases())
    told = built.site.releaser("bundle create", first, "-o", file, check=3).stderr
    assert "has not passed its tests (adopted" in told
    told = built.site.releaser("bundle create", "--target", "windows", "-o", file, check=2).stderr
    assert "Write it as 3.12-manylinux_2_28_x86_64." in told
    target = ("--target", "3.13-manylinux_2_28_aarch64")
    told = built.site.releaser("bundle create", *target, "-o", tmp_path / "other.bundle", check=0).stderr
    assert "on other hosts, install both yourself" in told
    told = built.site.releaser("bundle create", "--extra", "s4", "-o", file, check=2).stderr
    assert "releaser has no extra s4" in told
    told = built.site.releaser("bundle create", "--base", first, "-o", file, check=3).stderr
    assert f"--base {first} is neither a bundle nor a release of the last 4 that were bundled here" in told
    nowhere = tmp_path / "missing" / "no.bundle"
    assert f"{nowhere} cannot be created" in built.site.releaser("bundle create", "-o", nowhere, check=3).stderr
    assert not file.exists()


def test_code_that_is_a_package_and_a_source_release_are_installed_without_an_index(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    """The project is built on the host, by what the bundle brings; a source release comes as it was built."""
    key, signers = make_key(tmp_path)
    site = make_site(kind="packaged", venv=True)
    site.index.publish("helper", "1.0.0")  # which the backend asks for, once it is asked
    with (site.path / "pyproject.toml").open("a", encoding="utf-8") as pyproject:
        pyproject.write('\n[tool.tinybuild]\nrequires = ["helper"]\nwrites = ["version.txt"]\n')
    site.push_commit("build with a helper")
    (site.path / "version.txt").touch()  # as it was built here by hand, before anything was adopted
    (site.path / ".git" / "info" / "exclude").write_text("version.txt\n", encoding="utf-8")
    site.releaser("init", check=0)
    host = host_of(site, tmp_path / "host", signers)
    (site.index.path / "alpha-1.0.0-py3-none-any.whl").rename(tmp_path / "alpha.whl")
    mark = tmp_path / "built"
    build_sdist(site.index.path, "alpha", "1.1.0", mark=mark)
    site.releaser("update", check=0)
    runs = mark.read_bytes()
    file = tmp_path / "shop.bundle"
    site.releaser("bundle create", "--sign", key, "--no-installer", "-o", file, check=0)
    (host.path / "version.txt").unlink()  # which the project itself writes
    assert "Add these files to `bundle_include`" in host.releaser("bundle install", file, check=4).stderr
    site.write_dotenv({"RELEASER_BUNDLE_INCLUDE": "version.txt"})
    site.releaser("bundle create", "--sign", key, "--no-installer", "-o", file, check=0)
    report = host.json("bundle install", file)
    assert (report["result"], host.live_version("alpha")) == ("updated", site.live_version("alpha"))
    assert (host.path / "version.txt").exists()
    assert mark.read_bytes() == runs
    made, again = site.state_dir / "bundles" / "made", tmp_path / "again.bundle"
    gone = made / "20200101T000000Z"
    gone.mkdir()
    site.index.publish(BACKEND, "2.0.0")  # which has built nothing of the release
    site.releaser("bundle create", "--sign", key, "--no-installer", "-o", again, check=0)
    assert again.read_bytes() == file.read_bytes()
    assert [one.name for one in made.iterdir()] == [site.live_id()]
    told = site.releaser(
        "bundle create", "--target", "3.13-manylinux_2_28_aarch64", "-o", tmp_path / "no", check=3
    ).stderr
    assert "alpha 1.1.0 has no wheel for 3.13-manylinux_2_28_aarch64" in told


def test_a_project_without_git_is_refused(make_site: SiteFactory, tmp_path: Path) -> None:
    site = without_git(make_site(venv=True))
    site.releaser("init", check=0)
    site.update_to("alpha", "1.1.0")
    told = site.releaser("bundle create", "-o", tmp_path / "no", check=3).stderr
    assert "is not under git" in told
    assert "`git init`" in told


def test_a_host_that_may_not_push_goes_back_from_a_bundle_and_forward_again(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    builder = make_site.adopted()
    host = second_host(builder, tmp_path / "host")
    host.git("remote", "set-url", "--push", "origin", "/nowhere")
    file = tmp_path / "site.bundle"
    for version in ("1.1.0", "1.2.0"):
        builder.update_to("alpha", version)
        said = builder.releaser("bundle create", "--only-remote-head", "--no-installer", "-o", file, check=0).stderr
        assert f"code: commit {builder.head()[:12]} (Update 1 package)" in said
        host.releaser("bundle install", "--unsigned", file, check=0)
        assert host.live_version("alpha") == version
        host.releaser("rollback", check=0)
        assert host.live_version("alpha") == "1.0.0"
        assert host.git("status", "--porcelain") == ""
    assert builder.remote_head() == builder.head()


def test_a_builder_refuses_on_request_a_commit_that_is_not_the_remote_head(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    builder = make_site.adopted("1.1.0")
    create, file = ("--only-remote-head", "--no-installer", "-o"), tmp_path / "site.bundle"
    builder.push_from_elsewhere({"uv.lock": builder.lock_text() + "\n"})
    builder.releaser("bundle create", *create, file, check=0)  # of other code, the lock is no part
    file.unlink()
    builder.push_from_elsewhere({"code.py": "new = True\n"}, message="Work for tomorrow")
    refused = builder.releaser("bundle create", *create, file, check=3).stderr
    assert f"has the code of commit {builder.head()[:12]} (Update 1 package), but main on origin is at " in refused
    assert "(Work for tomorrow)" in refused
    builder.git("remote", "set-url", "origin", "/nowhere")
    assert "cannot be read" in builder.releaser("bundle create", *create, file, check=3).stderr
    assert not file.exists()
    assert builder.releaser("bundle create", *create[1:], file, check=0)


def test_a_shallow_clone_is_refused_before_a_bundle_that_no_host_could_install(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    builder, file = make_site.adopted("1.1.0"), tmp_path / "site.bundle"
    builder.git("remote", "set-url", "origin", builder.remote.as_uri())
    builder.git("fetch", "--depth=1", "origin", "main")
    create = ("bundle create", "--no-installer", "-o", file)
    assert "Run `git fetch --unshallow`." in builder.releaser(*create, check=3).stderr
    assert not file.exists()
    builder.git("fetch", "--unshallow")
    builder.releaser(*create, check=0)


def test_a_release_that_tries_a_package_reaches_test_hosts_alone(
    built: Built, host: SampleSite, tmp_path: Path
) -> None:
    """The tested build of a directory travels; neither the lock in git nor a channel for others ever gets it."""
    site, file = built.site, tmp_path / "tries.bundle"
    place = site.outer.parent / "work" / "alpha"
    lines = f'requires = ["{BACKEND}"]\nbuild-backend = "{BACKEND}"\n'
    project = f'[project]\nname = "alpha"\nversion = "9.0.0.dev1"\n[build-system]\n{lines}'
    write_files(place, {"pyproject.toml": project, "src/alpha/__init__.py": '__version__ = "9.0.0.dev1"\n'})
    candidate = site.json("update", "--override", f"alpha @ {place}")["release"]
    told = site.releaser("bundle create", candidate, "--sign", built.key, "-o", file, check=0).stderr
    assert f"it tries alpha @ {place.as_uri()}, so only test hosts install it, with --for-tests" in told
    assert site.json("bundle show", file)["overrides"] == [f"alpha @ {place.as_uri()}"]

    host.json("bundle install", built.bundles[1])
    before, head = state_of(host), host.head()
    assert "is only for test hosts" in host.json("bundle install", file, check=3)["problems"][0]
    to, sign = ("--to", tmp_path / "channels"), ("--sign", built.key)
    told = site.releaser("channel publish", file, *to, "--name", "production", *sign, check=3).stderr
    assert "is not a channel for tests" in told
    site.releaser("channel publish", built.bundles[0], *to, "--name", "production", *sign, check=0)
    told = site.releaser("channel publish", file, *to, "--name", "production", "--for-tests", *sign, check=3).stderr
    assert "hosts other than test hosts may follow it" in told
    site.releaser("channel publish", file, *to, "--name", "tests", "--for-tests", *sign, check=0)
    at = ("--at", tmp_path / "channels")
    assert site.json("channel show", "tests", *at)["for_tests"]
    for name in ("production", "new"):
        assert (
            "is not a channel for tests" in site.releaser("channel promote", "tests", name, *at, *sign, check=3).stderr
        )
    assert state_of(host) == before

    report = host.json("update", "--from", tmp_path / "channels" / "tests")
    assert (report["result"], host.live_version("alpha")) == ("updated", "9.0.0.dev1")
    assert host.json("status")["tries"] == [f"alpha @ {place.as_uri()}"]
    assert "for tests only" in host.releaser("list", check=0).stdout + host.releaser("list", check=0).stderr
    assert (host.head(), host.git("status", "--porcelain", "--untracked-files=no")) == (head, "")
    host.releaser("rollback", check=0)
    assert (host.live_version("alpha"), host.head()) == ("1.2.0", head)
    report = host.json("bundle install", file, "--for-tests", "--force")  # a person rolled it back
    assert (report["result"], host.live_version("alpha")) == ("updated", "9.0.0.dev1")
    site.releaser("rebuild", check=0)
    host.json("bundle install", built.bundle(tmp_path / "next.bundle"))
    assert (host.live_version("alpha"), host.json("status")["tries"]) == ("1.2.0", [])
    assert host.git("status", "--porcelain", "--untracked-files=no") == ""
