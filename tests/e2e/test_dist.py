"""What a release of releaser consists of, as `make dist` makes it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from releaser import __version__
from releaser.commands.command import all_commands

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone of this repository, with what makes a release as it is here, committed or not."""
    place = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, place], check=True)
    for name in ("pyproject.toml", "scripts/demo", "scripts/dist.py", "scripts/debian.py"):
        shutil.copyfile(REPOSITORY / name, place / name)
    for name in ("share", "scripts/debian"):
        shutil.copytree(REPOSITORY / name, place / name, dirs_exist_ok=True)
    subprocess.run(["git", "add", "share", "scripts"], cwd=place, check=True)
    pinned = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    (place / "constraints.txt").write_text(f"# No package is named here.\n\n{pinned}", encoding="utf-8")
    commit(place)
    return place


def commit(clone: Path) -> None:
    """Commit what is changed in a clone."""
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgSign=false"]
    subprocess.run([*git, "commit", "--quiet", "--all", "--message=As it is here"], cwd=clone, check=True)


def make(clone: Path, *arguments: str, umask: int = 0o022, **env: str) -> subprocess.CompletedProcess[str]:
    """Make a release in a clone."""
    words: list[str | Path] = [sys.executable, clone / "scripts" / "dist.py", *arguments]
    return subprocess.run(
        words, check=False, capture_output=True, encoding="utf-8", timeout=900, env={**os.environ, **env}, umask=umask
    )


# Before the demo of the source: that of the wheel, which holds the same, takes a minute for both.
SOURCE_IS_INSTALLED = """\
case "$INSTALL" in *.tar.gz)
    "$PYTHON" -m venv "$place/source"
    exec "$PYTHON" -m pip --quiet --python "$place/source/bin/python" install --no-deps "$INSTALL"
esac
"""


@pytest.mark.network
def test_the_same_commit_gives_the_same_bytes_elsewhere(clone: Path, tmp_path: Path) -> None:
    demo = clone / "scripts" / "demo"
    start = 'echo "Installing releaser'
    text = demo.read_text(encoding="utf-8")
    assert text.count(start) == 1
    demo.write_text(text.replace(start, SOURCE_IS_INSTALLED + start), encoding="utf-8")
    commit(clone)
    other, config = tmp_path / "another place", tmp_path / "gitconfig"
    config.write_text("[core]\n\tautocrlf = true\n", encoding="utf-8")
    subprocess.run(["git", "clone", "--quiet", clone, other], check=True)
    made = make(clone)
    assert made.returncode == 0, made.stdout
    for kind in ("-py3-none-any.whl", ".tar.gz"):
        assert f"the demo has run with venv_releaser-{__version__}{kind}" in made.stderr
    first = {file.name: file.read_bytes() for file in (clone / "dist").iterdir()}
    assert any(re.fullmatch(rf"venv-releaser_{re.escape(__version__)}_\w+\.deb", name) for name in first)
    env = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "GIT_CONFIG_GLOBAL": str(config)}
    assert make(other, "--unchecked", umask=0o077, **env).returncode == 0
    assert {file.name: file.read_bytes() for file in (other / "dist").iterdir()} == first
    listed = dict(line.split("  ")[::-1] for line in first["SHA256SUMS"].decode().splitlines())
    assert listed == {name: hashlib.sha256(data).hexdigest() for name, data in first.items() if name != "SHA256SUMS"}
    (source,), (wheel,) = ((clone / "dist").glob(name) for name in ("*.tar.gz", "*.whl"))
    with tarfile.open(source) as tar, zipfile.ZipFile(wheel) as archive:
        found = {one.name.partition("/")[2]: tar.extractfile(one) for one in tar if one.isfile()}
        of_source = {name: file.read() for name, file in found.items() if file and name.startswith("releaser/")}
        of_wheel = {name: archive.read(name) for name in archive.namelist() if name.startswith("releaser/")}
    assert of_source == of_wheel


def test_what_is_not_committed_is_not_made_and_what_the_demo_does_not_run_with_gets_no_checksums(clone: Path) -> None:
    (clone / "scripts" / "demo").write_text("exit 1\n", encoding="utf-8")
    refused = make(clone)
    assert (refused.returncode, "changes that are not committed" in refused.stderr) == (1, True)
    assert not (clone / "dist").exists()
    commit(clone)
    made = make(clone, "--no-debian")
    assert made.returncode == 1
    assert "dist: the demo fails with venv_releaser-" in made.stderr
    assert not (clone / "dist" / "SHA256SUMS").exists()


def test_the_sbom_names_all_that_is_pinned_with_its_hashes(clone: Path) -> None:
    assert make(clone, "--unchecked", "--no-debian").returncode == 0
    for extra in ("", "-attestations", "-notify", "-prometheus", "-s3"):
        file = clone / f"constraints{extra}.txt"
        sbom = json.loads((clone / "dist" / f"venv_releaser-{__version__}{extra}.cdx.json").read_text(encoding="utf-8"))
        text = file.read_text(encoding="utf-8")
        assert {f"{one['name']}=={one['version']}" for one in sbom["components"]} == pins(file)
        named = {one["hashes"][0]["content"] for part in sbom["components"] for one in part["externalReferences"]}
        assert len(named) == text.count("--hash=sha256:")
        assert all(digest in text for digest in named)


def test_any_wheel_of_a_checkout_brings_man_pages_and_completions(clone: Path, tmp_path: Path) -> None:
    build = "import sys, hatchling.build as backend; backend.build_wheel(sys.argv[1])"  # which is what pip and uv call
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=clone, check=True, capture_output=True)
    prefix = tmp_path / "venv"
    venv.create(prefix)
    (wheel,) = tmp_path.glob("*.whl")
    install: list[str | Path] = ["uv", "pip", "install", "--quiet", "--no-deps", "--offline", "--python", prefix, wheel]
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    subprocess.run(install, check=True, env=env)
    (packages,) = prefix.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    share, env = prefix / "share", {"PATH": f"{prefix / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}
    pages = {path.name: path.read_text(encoding="utf-8") for path in (share / "man/man1").iterdir()}
    assert {*pages} == {"releaser.1", *(f"releaser-{one.replace(' ', '-')}.1" for one in all_commands())}
    assert ".SH EXAMPLE\n.nf\nreleaser update \\-\\-dry\\-run\n" in pages["releaser-update.1"]
    if shutil.which("man"):  # which finds pages next to the programs on PATH
        for place in ("man1/releaser-update.1", "man5/releaser-settings.5"):
            found = subprocess.check_output(["man", "-w", Path(place).stem], env=env, encoding="utf-8")
            assert Path(found.strip()) == share / "man" / place
    assert (share / "releaser/ci/check-pull-request").is_file()  # which the jobs of CI services start
    for name in ("zsh/site-functions/_releaser", "fish/vendor_completions.d/releaser.fish"):
        assert "_RELEASER_COMPLETE=" in (share / name).read_text(encoding="utf-8")
    script = (
        'source "$1"; complete -p releaser >/dev/null; COMP_WORDS=(releaser config test_w); COMP_CWORD=2\n'
        '_releaser_completion releaser; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    shell: list[str | Path] = ["bash", "--norc", "-euc", script, "bash", share / "bash-completion/completions/releaser"]
    assert subprocess.check_output(shell, cwd=tmp_path, env=env, encoding="utf-8").split() == ["test_writable"]


STAND_INS = {
    "make": "mkdir dist; cd dist; cp $ASSETS/* .; rm -f SHA256SUMS *py2*; sha256sum * >SHA256SUMS",
    "gh": """while [ $# -gt 1 ]; do
        case $1 in --pattern) name=$2;; --dir) to=$2;; esac; shift
    done
    cp $ASSETS/$name ${to:-.}""",
    "python3": "mkdir -p venv/bin; for one in pip python uv; do cp $(dirname $0)/log venv/bin/$one; done",
    "log": """echo "$(basename $0) $*" >>$RUNNER_TEMP/log
    for one; do case $one in *.whl) touch $one.publish.attestation;; esac; done""",
}


@pytest.mark.parametrize("fault", ["", "another signer", "another wheel", "one more wheel"])
def test_the_workflow_publishes_what_a_signed_tag_gives_and_nothing_else(tmp_path: Path, fault: str) -> None:
    """What it runs, but for make, gh, pip, and what signs and uploads."""
    text = (REPOSITORY / ".github/workflows/publish.yml").read_text(encoding="utf-8")
    rebuild, publish = (textwrap.dedent(one) for one in re.findall(r"run: \|\n((?: {10}.*\n)+)", text))
    for name in ("bin", "assets", "temp", "rebuild", "publish", "me/venv_releaser"):
        (tmp_path / name).mkdir(parents=True)
    for name, script in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh -e\n{script}\n", encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    wheel, assets = "venv_releaser-1-py3-none-any.whl", tmp_path / "assets"
    for name in (wheel, "venv_releaser-1.tar.gz", "constraints-attestations.txt"):
        (assets / name).write_text(name, encoding="utf-8")
    settings = ("gpg.format=ssh", f"user.signingKey={tmp_path}/key", "user.name=a", "user.email=a")
    signing = [word for setting in settings for word in ("-c", setting)]
    script = (
        "for one in key other; do ssh-keygen -q -t ed25519 -N '' -f $one; done\n"
        'cd me/venv_releaser; git init -q; git "$@" commit -q --allow-empty -m All; git "$@" tag -s -m 1 v1; cd ../..\n'
        "cd assets; sha256sum * >SHA256SUMS\n"
    )
    subprocess.run(["bash", "-ec", script, "bash", *signing], cwd=tmp_path, check=True)
    key = (tmp_path / ("other.pub" if fault == "another signer" else "key.pub")).read_text(encoding="utf-8")
    env = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "TAG": "v1", "SIGNERS": f"a {key}"}
    env |= {"ASSETS": str(assets), "GITHUB_SERVER_URL": f"{tmp_path}/me", "GH_REPO": "venv_releaser"}
    env |= {"RUNNER_TEMP": f"{tmp_path}/temp", "GITHUB_OUTPUT": f"{tmp_path}/output"}

    def done(job: str, script: str) -> bool:
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        return subprocess.run(words, cwd=tmp_path / job, env=env, check=False).returncode == 0

    assert done("rebuild", rebuild) == (fault != "another signer")
    if fault != "another signer":
        env["SUMS"] = (tmp_path / "output").read_text(encoding="utf-8").strip().removeprefix("sums=")
        changed = {"another wheel": wheel, "one more wheel": wheel.replace("py3", "py2")}.get(fault)
        if changed:
            (assets / changed).write_text("evil", encoding="utf-8")
        assert done("publish", publish) == (fault != "another wheel")
    log = tmp_path / "temp" / "log"
    uploaded = log.read_text(encoding="utf-8").splitlines()[-1].split()[4:] if log.exists() else []
    expected = [wheel, f"{wheel}.publish.attestation", "venv_releaser-1.tar.gz"]
    assert uploaded == (expected if fault in ("", "one more wheel") else [])
    assert "uses:" not in text
    assert text.count("id-token: write") == 1


def pins(file: Path) -> set[str]:
    """Return what a file of requirements pins, as `name==version`."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return {line.split()[0] for line in lines if "==" in line}


def test_what_users_install_is_what_the_tests_run_with() -> None:
    least, more = (pins(REPOSITORY / name) for name in ("constraints.txt", "constraints-attestations.txt"))
    assert least < more <= pins(REPOSITORY / "requirements-dev.txt")


def test_each_bound_of_what_it_needs_is_tested() -> None:
    """The lowest version is that of `make test-lowest`; of the last series that may come in, all tests have one."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for extra in project["optional-dependencies"].values() for one in extra]
    newest, lowest = (
        {name: Version(version) for name, _, version in (pin.partition("==") for pin in pins(REPOSITORY / file))}
        for file in ("requirements-dev.txt", "requirements-lowest.txt")
    )
    for need in map(Requirement, [*project["dependencies"], *extras]):
        bounds = {one.operator: Version(one.version) for one in need.specifier}
        *above, last = bounds["<"].release
        assert list(newest[need.name].release[: len(above) + 1]) == [*above, last - 1], need
        assert lowest[need.name] == bounds[">="], need
