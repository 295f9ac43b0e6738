"""The packages of a site as Debian's, in a local repository, and the real unattended-upgrade that installs them.

It runs in a mount namespace with its own lists, state and settings of apt and dpkg: the machine's stay as they are.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stage import publish

if TYPE_CHECKING:
    from stage import Stage

PROGRAMS = ("unattended-upgrades", "python3-apt", "python3-distro-info")
PRIVATE = ("/etc/apt", "/var/lib/apt", "/var/lib/dpkg", "/var/cache/apt", "/var/log", "/run")
UPGRADE = """\
#!/bin/sh
set -e
cd "{place}"
exec unshare --mount sh -ec '
for one in {private}; do mount --bind "{place}/root$one" "$one"; done
export PYTHONPATH="{place}/python" LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
apt-get -qq update
{command}'
"""
APT_CONF = """\
APT::Sandbox::User "root";
Unattended-Upgrade::Origins-Pattern {{ "origin=Teashop"; }};
DPkg::Post-Invoke {{ "cd {site} && {restart} || true"; }};
"""
CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: Ada <ada@example.org>
Description: {name}
"""


@dataclass(frozen=True, kw_only=True)
class Debian:
    """A repository of Debian packages whose files are those of the site's venv."""

    stage: Stage
    place: Path

    def prepare(self, restart: str) -> None:
        """Install the packages of the site as Debian's, and make the command `upgrade`."""
        tools = self.place / "tools"
        tools.mkdir(parents=True)
        self.stage.ask("apt-get", "download", *PROGRAMS, cwd=tools)
        for package in tools.glob("*.deb"):
            self.stage.ask("dpkg-deb", "-x", package, tools)
        python = self.place / "python"
        shutil.copytree(tools / "usr/lib/python3/dist-packages", python)
        for name in ("apt", "apt_pkg", "apt_inst", "aptsources"):  # those of the system fit its libraries
            for own in python.glob(f"{name}*"):
                if Path("/usr/lib/python3/dist-packages", own.name).exists():
                    shutil.rmtree(own) if own.is_dir() else own.unlink()
        for one in PRIVATE:
            (self.place / "root" / one.lstrip("/")).mkdir(parents=True)
        root = self.place / "root"
        shutil.copytree("/var/lib/dpkg", root / "var/lib/dpkg", symlinks=True, dirs_exist_ok=True)
        for one in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt", "etc/apt/apt.conf.d"):
            (root / one).mkdir(parents=True)
        (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{self.place}/repository ./\n")
        conf = APT_CONF.format(site=self.stage.site, restart=restart)
        (root / "etc/apt/apt.conf.d" / "50teashop").write_text(conf)
        (self.place / "repository").mkdir()
        self.pack(self.stage.site / ".venv")
        names = " ".join(re.findall(r"^Package: (.*)$", self.index(), re.MULTILINE))
        self.command("install", f"apt-get -qq -y install {names}")
        self.command("upgrade", f"/usr/bin/python3 {tools}/usr/bin/unattended-upgrade -v")
        self.stage.ask(self.place / "install")

    def command(self, name: str, command: str) -> None:
        """Write a command that runs with private settings of apt and dpkg."""
        program = self.place / name
        program.write_text(UPGRADE.format(place=self.place, private=" ".join(PRIVATE), command=command))
        program.chmod(0o755)

    def release(self, version: str) -> None:
        """Put the newest packages into the repository, with this version of pricetag: the work of a maintainer."""
        publish(self.stage.wheels, version)
        newest = self.place / f"newest-{version}"
        self.stage.ask("git", "clone", "--quiet", self.stage.remote, newest / "teashop")
        (newest / "wheels").symlink_to(self.stage.wheels)
        self.stage.ask("uv", "lock", "--quiet", "--upgrade", cwd=newest / "teashop")
        self.stage.ask("uv", "sync", "--quiet", "--frozen", cwd=newest / "teashop")
        self.pack(newest / "teashop" / ".venv")
        self.index()

    def pack(self, venv: Path) -> None:
        """Make a Debian package of each package in the venv."""
        packages = next((venv / "lib").glob("*/site-packages"))
        target = next((self.stage.site / ".venv" / "lib").glob("*/site-packages"))
        for info in packages.glob("*.dist-info"):
            name, version = info.name.removesuffix(".dist-info").rsplit("-", 1)
            tree = self.place / "build" / f"{name}_{version}"
            if tree.exists():
                continue
            for line in (info / "RECORD").read_text().splitlines():
                file = packages / line.split(",")[0].strip('"')
                if ".." not in line and "__pycache__" not in line and file.is_file():
                    copy = tree / target.relative_to("/") / file.relative_to(packages)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, copy)
            (tree / "DEBIAN").mkdir(parents=True)
            control = CONTROL.format(name=f"teashop-{name.replace('_', '-').lower()}", version=version)
            (tree / "DEBIAN" / "control").write_text(control)
            postinst = tree / "DEBIAN" / "postinst"
            modules = [one for one in (tree / target.relative_to("/")).iterdir() if one.suffix != ".dist-info"]
            compiled = " ".join(f"{target}/{one.name}" for one in modules)
            postinst.write_text(f"#!/bin/sh\n{target.parents[2]}/bin/python -m compileall -q {compiled}\n")
            postinst.chmod(0o755)
            self.stage.ask("dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, self.place / "repository")

    def index(self) -> str:
        """Write the lists of the repository; return that of packages."""
        repository = self.place / "repository"
        text = self.stage.ask("apt-ftparchive", "packages", ".", cwd=repository)
        (repository / "Packages").write_text(f"{text}\n")
        words = ("apt-ftparchive", "-o", "APT::FTPArchive::Release::Origin=Teashop", "release", ".")
        release = subprocess.run(words, cwd=repository, env=self.stage.env, capture_output=True, text=True, check=True)
        (repository / "Release").write_text(release.stdout)
        return text
