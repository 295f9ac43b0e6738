"""Installs releaser: `python3 -m releaser.launcher /opt/releaser`, in a checkout or with a wheel on PYTHONPATH."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence

from releaser.launcher import build
from releaser.launcher.build import BuildError, refuse
from releaser.launcher.install import (
    PYTHONS,
    default_link,
    download,
    install,
    link_program,
    platforms_of,
    private_part,
    run,
)

EXTRAS = ("attestations", "notify", "prometheus", "s3", "serve")


def main() -> None:
    """Install releaser, or another version over it."""
    parser = argparse.ArgumentParser(prog="python3 -m releaser.launcher", description=main.__doc__)
    parser.add_argument("directory", help="such as /opt/releaser")
    parser.add_argument("--extra", action="append", default=[], choices=EXTRAS, help="repeatable")
    parser.add_argument(
        "--constraints", help="the directory of constraints.txt; default: that of the checkout or wheel"
    )
    parser.add_argument("--link", action="store_true", help=f"make {default_link()}")
    options = parser.parse_args()
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if python not in PYTHONS:
        message = f"this is Python {python}, but releaser needs one of {', '.join(PYTHONS)}"
        refuse(message, f"Run the command with one of these, such as `python{PYTHONS[-1]} -m releaser.launcher`.")
    try:
        extras = sorted({*options.extra, *_installed_extras(options.directory)})
        with tempfile.TemporaryDirectory(prefix="releaser-install-") as scratch:
            wheels, requirements = _fetch(scratch, shlex.quote(options.directory), options.constraints, extras, python)
            install(options.directory, wheels, requirements)
        home = os.path.abspath(options.directory)
        print(f"releaser is installed in {home}")
        if private := private_part(os.path.realpath(sys.executable)):
            print(
                f"Only root can run it, as others may not read {private}, which has its Python. For all users, install"
                " it again with a Python of the system, such as `/usr/bin/python3`.",
                file=sys.stderr,
            )
        if options.link:
            print(link_program(home, default_link()))
    except (BuildError, OSError) as error:
        refuse(
            f"the installation failed: {error}", getattr(error, "advice", "Correct that, and run the command again.")
        )


def _installed_extras(home: str) -> set[str]:
    """Return the extras that an installation has, so that another version has them, too. Raises OSError."""
    try:
        with open(os.path.join(home, build.REQUIREMENTS), encoding="utf-8", errors="replace") as file:
            found = re.search(r"(?m)^venv-releaser\[([^]]*)\]==", file.read())
    except FileNotFoundError:
        return set()
    return {*EXTRAS} & {*found[1].split(",")} if found else set()


def _fetch(
    scratch: str, home: str, constraints: str | None, extras: Sequence[str], python: str
) -> tuple[list[str], str]:
    """Return the wheels of releaser and its requirements for all Pythons, and their pins. Raises BuildError."""
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    place, venv = os.path.join(scratch, "wheels"), os.path.join(scratch, "venv")
    directory = constraints or (os.path.dirname(source) if source.endswith(".whl") else source)
    pins = _read_pins(
        [os.path.join(directory, f"constraints{one}.txt") for one in ("", *(f"-{one}" for one in extras))]
    )
    run([sys.executable, "-I", "-m", "venv", venv])
    pip = (os.path.join(venv, "bin", "python"), "-I", "-m", "pip")
    others = [one for one in PYTHONS if one != python]
    download(pip, pins, place, [python, *others], _platforms(home))
    if not source.endswith(".whl"):
        run([*pip, "wheel", "-qq", "--disable-pip-version-check", "--no-deps", "--wheel-dir", place, source])
        (source,) = (os.path.join(place, one) for one in os.listdir(place) if one.startswith("venv_releaser-"))
    wheels = [os.path.join(place, one) for one in sorted(os.listdir(place)) if not one.startswith("venv_releaser-")]
    version = os.path.basename(source).split("-")[1]
    own = f"venv-releaser{'[' + ','.join(extras) + ']' if extras else ''}=={version}"
    return [*wheels, source], f"{pins}{own} --hash=sha256:{build.hash_of(source)}\n"


def _read_pins(files: Sequence[str]) -> str:
    """Return the pins of several files, each once. Raises OSError."""
    blocks = dict[str, None]()
    for file in files:
        with open(file, encoding="utf-8") as stream:
            blocks |= dict.fromkeys(re.findall(r"(?ms)^\S.*?(?=^\S|\Z)", stream.read()))
    return "".join(blocks)


def _platforms(home: str) -> Sequence[str]:
    """Return the platforms whose wheels run here. Raises BuildError."""
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""
    found = re.fullmatch(r"glibc 2\.(\d+)", libc or "")
    if found is None:
        raise BuildError(
            "the C library of this host is not glibc",
            f"Install it into a plain venv, in the checkout: `python3 -m venv {home} && {home}/bin/pip install"
            f" --require-hashes -r constraints.txt && {home}/bin/pip install --no-deps .`."
            " After an upgrade of Python, do so again.",
        )
    return platforms_of(platform.machine(), int(found[1]))


if __name__ == "__main__":
    main()
