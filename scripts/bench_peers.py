"""What people would use instead of releaser: each peer set up for the same packages, without a network.

A peer that is not installed says so by `BenchError`, and is left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench_figures import BenchError, Program, say, version_of

from tests.support.commands import git_executable, uv_executable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.sites import SampleSite

CAPFILE = """\
require "capistrano/setup"
require "capistrano/deploy"
require "capistrano/scm/plugin"
class NoRepository < Capistrano::SCM::Plugin
end
install_plugin NoRepository
"""
DEPLOY = """\
set :application, "site"
set :deploy_to, ENV.fetch("DEPLOY_TO")
set :sshkit_backend, SSHKit::Backend::Local
set :format_options, truncate: false
server "localhost", roles: %w[app]
"""
INSTALL = "sudo bash scripts/install-debian-packages bench"
PEERS = ("nix-env", "cap", "pipx", "mkfs.xfs", "bwrap", "apache2", "passenger-config")
OLDER, NEWER = "20200101000000", "20200102000000"


def need(program: str) -> Path:
    """Find a program; BenchError if it is not installed."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/bin:/bin")
    if found is None:
        message = f"{program} is not installed, so it is left out: {INSTALL}"
        raise BenchError(message)
    return Path(found)


def say_what_is_missing() -> None:
    """Say how to install peers that are not there, before anything is measured."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/bin:/bin:/usr/sbin:/sbin"
    if missing := [program for program in PEERS if shutil.which(program, path=path) is None]:
        say(f"{', '.join(missing)}: not installed, so some aims cannot be measured. {INSTALL}\n")


def call(*words: str | Path, cwd: Path, env: Mapping[str, str]) -> str:
    """Run a step of a set-up; return what it printed."""
    try:
        done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    except OSError as error:
        message = f"{words[0]} cannot be started, so it is left out: {error.strerror} ({INSTALL})"
        raise BenchError(message) from error
    if done.returncode:
        said = " ".join(line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip())
        message = f"{Path(words[0]).name} failed, so it is left out: {said[-200:]}"
        raise BenchError(message)
    return done.stdout.strip()


def nix_rollback(place: Path, older: Path, newer: Path) -> tuple[Program, str]:
    """Return `nix-env --switch-generation` between two trees, in a store of its own, and the version of Nix."""
    nix_env = need("nix-env")
    store = place / "nix"
    names = ("STORE", "STATE", "LOG", "CONF", "LOCALSTATE")
    env = {"PATH": os.defpath, "HOME": str(place), **{f"NIX_{name}_DIR": str(store / name.lower()) for name in names}}
    (store / "conf").mkdir(parents=True)
    (store / "conf" / "nix.conf").write_text("build-users-group =\nsandbox = false\n", encoding="utf-8")
    profile = store / "profile"
    for tree in (older, newer):
        stored = call(nix_env.with_name("nix-store"), "--add", tree, cwd=place, env=env)
        call(nix_env, "--profile", profile, "--set", stored, cwd=place, env=env)

    def words(turn: int) -> list[str | Path]:
        return [nix_env, "--profile", profile, "--switch-generation", str(1 + turn % 2)]

    program = Program(name="nix-env --switch-generation", words=words, cwd=place, env=env)
    return program, version_of(nix_env, "--version")


def capistrano_rollback(place: Path, tree: Path | None, name: str) -> tuple[Program, str]:
    """Return `cap production deploy:rollback`, with releases that hold this tree, or next to nothing.

    Capistrano packs the release that it leaves into an archive, and deletes it: it has to be put back each time.
    """
    cap = need("cap")
    root = place / name.replace(" ", "-")
    home = root / "config" / "deploy"
    home.mkdir(parents=True)
    (root / "Capfile").write_text(CAPFILE, encoding="utf-8")
    (root / "config" / "deploy.rb").write_text("", encoding="utf-8")
    (home / "production.rb").write_text(DEPLOY, encoding="utf-8")
    target = root / "target"
    releases = target / "releases"
    (target / "shared").mkdir(parents=True)
    empty, began = target / "shared", time.time()

    def put_back(_: int) -> None:
        for age, one in ((2, OLDER), (1, NEWER)):
            if not (releases / one).exists():
                shutil.copytree(tree or empty, releases / one, symlinks=True)
                (releases / one / "REVISION").write_text(f"{one}\n", encoding="utf-8")
            os.utime(releases / one, (began - age, began - age))  # which it goes by
        (target / "current").unlink(missing_ok=True)
        (target / "current").symlink_to(releases / NEWER)

    env = {"PATH": f"/usr/bin:{os.defpath}", "HOME": str(root), "DEPLOY_TO": str(target), "LANG": "C.UTF-8"}
    words: list[str | Path] = [cap, "production", "deploy:rollback"]
    put_back(0)
    call(*words, cwd=root, env=env)
    if (target / "current").resolve().name != OLDER:
        message = f"{name} has not gone back, so it is left out"
        raise BenchError(message)
    program = Program(
        name=f"cap deploy:rollback, {name}",
        words=words,
        cwd=root,
        env=env,
        before=put_back,
        turns=None if tree is None else 3,
    )
    return program, version_of(cap, "--version")


@dataclass(frozen=True)
class InPlace:
    """The in-place way: a clone of the site whose live venv `uv sync` changes."""

    checkout: Path
    env: Mapping[str, str]

    @classmethod
    def of(cls, site: SampleSite, place: Path) -> InPlace:
        """Make a clone beside the index of a site, with a venv of its own."""
        checkout = site.outer / place.name
        env = {**site.env, "UV_PROJECT_ENVIRONMENT": str(checkout / ".venv")}
        call(git_executable(), "clone", "--quiet", site.remote, checkout, cwd=site.outer, env=env)
        return cls(checkout, env)

    def lock(self, name: str, *arguments: str) -> Path:
        """Resolve, and return a copy of the lock with this name."""
        call(uv_executable(), "lock", "--quiet", *arguments, cwd=self.checkout, env=self.env)
        kept = self.checkout.with_name(f"{self.checkout.name}-{name}.lock")
        shutil.copyfile(self.checkout / "uv.lock", kept)
        return kept

    def sync(self) -> None:
        """Bring the venv to the lock."""
        call(uv_executable(), "sync", "--quiet", "--frozen", "--compile-bytecode", cwd=self.checkout, env=self.env)

    def rollback(self, name: str, locks: tuple[Path, Path], *, turns: int) -> Program:
        """Return restoring the lock and syncing again, to and fro."""
        command = 'cp "$1" uv.lock && "$2" sync --quiet --frozen --compile-bytecode'

        def words(turn: int) -> list[str | Path]:
            return ["sh", "-c", command, "sh", locks[turn % 2], uv_executable()]

        return Program(name=name, words=words, cwd=self.checkout, env=self.env, turns=turns)


def symlink_rollback(place: Path, older: Path, newer: Path) -> Program:
    """Return a plain `ln -sfn` between two venvs, which `ln` deletes and makes again."""

    def words(turn: int) -> list[str | Path]:
        return ["ln", "-sfn", (older, newer)[turn % 2], place / "current"]

    return Program(name="ln -sfn of a venv by venv and pip", words=words, cwd=place, env={"PATH": os.defpath})


def venv_and_pip(site: SampleSite, place: Path) -> Program:
    """Return a new venv by `python -m venv` and pip, made current with `ln -sfn`."""
    requirements = place / "requirements.txt"
    text = call(
        uv_executable(),
        "export",
        "--quiet",
        "--frozen",
        "--no-hashes",
        "--no-emit-project",
        cwd=site.path,
        env=site.env,
    )
    requirements.write_text(text, encoding="utf-8")
    command = (
        'rm -rf "$2" && "$1" -m venv "$2" && "$2/bin/pip" install --quiet --disable-pip-version-check --no-index '
        '--find-links "$3" -r "$4" && ln -sfn "$2" "$5"'
    )
    words: list[str | Path] = ["sh", "-c", command, "sh", sys.executable]
    words += [place / "new", site.index.path, requirements, place / "current"]
    return Program(name="python -m venv, pip, ln -sfn", words=words, cwd=place, env=site.env)


def pipx_upgrade(site: SampleSite, place: Path) -> tuple[Program, str]:
    """Return `pipx upgrade` of a package that is newest already, and the version of pipx."""
    pipx = need("pipx")
    site.index.publish("tool", "1.0", scripts={"tool": "tool:main"}, modules={"tool.py": "def main(): pass\n"})
    env = {
        **site.env, "PATH": f"{site.env['PATH']}:/usr/bin", "HOME": str(place), "PIPX_HOME": str(place / "pipx"),
        "PIPX_BIN_DIR": str(place / "bin"), "PIPX_DEFAULT_PYTHON": sys.executable, "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": f"{site.index.path} /usr/share/python-wheels",  # where Debian has those of pip and setuptools
    }  # fmt: skip
    call(pipx, "install", "tool", cwd=place, env=env)
    program = Program(
        name="pipx upgrade, one package, nothing newer", words=[pipx, "upgrade", "tool"], cwd=place, env=env
    )
    return program, version_of(pipx, "--version")
