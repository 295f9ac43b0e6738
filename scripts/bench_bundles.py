"""Bundles beside pex and shiv, with the same lock of Django and 30 packages; needs the network, to get all of them.

Each first start is one of a fresh host: a new home, and so empty caches of uv, pex and shiv.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from bench_rows import report, time_acts, time_program

from tests.e2e.test_starter import Program
from tests.support.commands import HOUSE, Identity, reachable_python, run, uv_executable

OTHERS = ("pex==2.82.1", "shiv==1.0.8")
PACKAGES = (
    "argon2-cffi argon2-cffi-bindings asgiref bleach certifi cffi charset-normalizer click cryptography idna jinja2 "
    "django-cors-headers django-filter djangorestframework gunicorn markdown markupsafe packaging pillow pycparser six "
    "pygments python-dateutil pyyaml redis requests sqlparse urllib3 webencodings whitenoise"
)
UPGRADED, OLD = "markdown", "3.7"  # what the second version upgrades
FILES = {
    ".gitignore": "__pycache__/\n/.venv\n",
    "shop/__init__.py": "VERSION = 1\n",
    "shop/texts.py": "".join(f'TEXT_{number} = "{number * 7919 % 104729}"\n' for number in range(400)),
}
SETTINGS = """
[tool.releaser]
test_command = "python -c 'import django.core.handlers.wsgi'"
restart = "none"
git_pull = false
git_push = false
audit = "off"
"""
IMPORT = ("-c", "import django.core.handlers.wsgi")
INHERITED = ("SSL_CERT_FILE", "PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "HTTPS_PROXY", "https_proxy")
ROUNDS, STARTS = 5, 41


class Host:
    """A user's host with releaser, pex and shiv, who make their files there."""

    def __init__(self, place: Path, user: Identity | None) -> None:
        self.user, self.home, self.python = user, place / "home", reachable_python()
        self.tools = place / "tools" / "bin"
        self.env = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self.env |= {"PATH": f"{self.tools}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "UV_SYSTEM_CERTS": "1"}
        self.env |= {"UV_PYTHON_DOWNLOADS": "never"}
        uv = uv_executable()
        self.home.mkdir(parents=True)
        subprocess.run([uv, "venv", "--quiet", "--python", self.python, self.tools.parent], check=True)
        words = [str(uv), "pip", "install", "--quiet", "--compile-bytecode", "--python", str(self.tools / "python")]
        subprocess.run([*words, str(HOUSE), *OTHERS], check=True)
        subprocess.run(["chmod", "-R", "go+rX", place], check=True)
        self.own(self.home)

    def own(self, path: Path) -> Path:
        """Give a file or directory to the user."""
        if self.user:
            self.user.own(path)
        return path

    def run(self, *words: str | Path, cwd: Path | None = None, home: Path | None = None, **variables: str) -> str:
        """Return what a program of the user prints; end if it fails."""
        home = home or self.home
        prefix = self.user.prefix if self.user else ()
        env = self.env | {"HOME": str(home)} | variables
        finished = run([*prefix, *words], cwd=cwd or home, env=env, timeout=600)
        if finished.returncode:
            sys.exit(f"{words}\n{finished}")
        return finished.stdout

    def write(self, directory: Path, files: dict[str, str]) -> None:
        """Write files of the user."""
        for name, text in files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text, encoding="utf-8")
        self.own(directory)


def make_project(host: Host) -> Path:
    """Make the project, with its lock and its first release."""
    project, names = host.home / "shop", ", ".join(f'"{name}"' for name in ("django", *PACKAGES.split()))
    text = f'[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = [{names}]\n'
    host.write(project, FILES | {"pyproject.toml": text + SETTINGS})
    host.write(host.home, {".gitconfig": "[user]\nname = Grace\nemail = grace@example.org\n"})
    host.run("uv", "lock", "--quiet", "--upgrade-package", f"{UPGRADED}=={OLD}", cwd=project)
    for words in ("init --quiet --initial-branch=main", "add --all", "commit --quiet --message=Begin"):
        host.run("git", *words.split(), cwd=project)
    host.run("releaser", "init", cwd=project)
    return project


def make_second_version(host: Host, project: Path) -> None:
    """Change a Python file, upgrade a package, and take both live."""
    host.write(project, {"shop/texts.py": FILES["shop/texts.py"].replace("TEXT_0", "TEXT_NIL")})
    host.run("uv", "lock", "--quiet", "--upgrade-package", UPGRADED, cwd=project)
    host.run("git", "commit", "--quiet", "--all", "--message=Two", cwd=project)
    host.run("releaser", "update", cwd=project)


def count_bytes(bundle: Path, top: str = "") -> int:
    """Return the bytes of the members of a bundle whose names begin so."""
    with zipfile.ZipFile(bundle) as archive:
        return sum(entry.compress_size for entry in archive.infolist() if entry.filename.startswith(top))


def list_steps(answer: str) -> dict[str, float]:
    """Return the seconds of each step, by the JSON of an installation; tests are `test`."""
    return {step["step"]: step["seconds"] for step in json.loads(answer)["steps"]}


def megabytes(directory: Path) -> float:
    """Return the allocated blocks below a directory; a file with several names counts once."""
    entries = [entry.lstat() for entry in (directory, *directory.rglob("*"))]
    return sum({(entry.st_dev, entry.st_ino): entry.st_blocks * 512 for entry in entries}.values()) / 1e6


def measure_round(host: Host, number: int, full: Path, delta: Path) -> dict[str, float]:
    """Return the seconds and megabytes of one round on hosts that have nothing but Python and git."""
    homes = {name: host.home / f"{name}{number}" for name in ("bundle", "pex", "shiv")}
    for home in homes.values():
        home.mkdir()
        host.own(home)
    site, answers = homes["bundle"] / "sites" / "shop", list[str]()
    options = ("--into", site, "--unsigned", "--json")

    def install(*words: str | Path) -> None:
        answers.append(host.run(*words, *options, home=homes["bundle"], PATH="/usr/bin:/bin"))
        host.run(site / ".venv/bin/python", *IMPORT, home=homes["bundle"])

    acts = {
        "install": lambda: install(host.python, full, "install"),
        "second": lambda: install(homes["bundle"] / ".local/bin/releaser", "bundle", "install", delta),
        "pex": lambda: host.run(host.python, host.home / "shop.pex", *IMPORT, home=homes["pex"]),
        "shiv": lambda: host.run(host.python, host.home / "shop.pyz", *IMPORT, home=homes["shiv"]),
    }
    figures = {}
    for name, act in acts.items():
        times = time_program(act)
        steps = list_steps(answers[-1]) if act in (acts["install"], acts["second"]) else {}
        figures[name] = times.seconds - steps.get("test", 0)
        figures[f"disk of {name}"] = megabytes(site.parent) - figures.get("disk of install", 0)
        parts = ", ".join(f"{step} {seconds:.2f}" for step, seconds in steps.items())
        print(f"round {number}: {name} {times} {parts}".rstrip(), flush=True)
    return figures


def measure_bundles(place: Path, user: Identity | None) -> None:
    """Print sizes, the first start of a fresh host beside pex and shiv, a second version, and warm starts."""
    host = Host(place, user)
    project = make_project(host)
    names = ("full.bundle", "delta.bundle", "code", "requirements.txt", "shop.pex", "shop.pyz")
    full, delta, code, requirements, pex, shiv = (host.home / name for name in names)
    host.run("releaser", "bundle", "create", "-o", full, cwd=project)
    host.run("git", "bundle", "create", "--quiet", code, "HEAD", "main", cwd=project)
    words = ("export", "--quiet", "--frozen", "--no-emit-project", "--format", "requirements.txt", "-o", requirements)
    host.run("uv", *words, cwd=project)
    host.run("pex", "-r", requirements, "-o", pex)
    host.run("shiv", "--compressed", "-o", shiv, "-r", requirements)
    make_second_version(host, project)
    host.run("releaser", "bundle", "create", "-o", delta, "--base", full, cwd=project)

    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.2f}" for path in (full, delta, pex, shiv))
    print(f"megabytes: {sizes}; in the full bundle, releaser and uv are {count_bytes(full, 'tools/') / 1e6:.2f}")
    wheels, upgraded = count_bytes(full, "wheels/"), count_bytes(delta, "wheels/")
    ratio = (full.stat().st_size - count_bytes(full, "tools/")) / (wheels + code.stat().st_size)
    report("bytes of a full bundle without releaser and uv, beside its wheels and a git bundle", [ratio], 1.02)
    ratio = delta.stat().st_size / (1.1 * upgraded + 65536)
    report("bytes of a delta of a file and a package, beside 1.1 times the wheel and 64 KiB", [ratio], 1)

    rounds = [measure_round(host, number, full, delta) for number in range(ROUNDS)]
    for name, aim, values in (
        (
            "a bundle on a fresh host to the first import, tests aside, beside the better of pex and shiv",
            1.2,
            [figures["install"] / min(figures["pex"], figures["shiv"]) for figures in rounds],
        ),
        (
            "a delta of a second version: time beside that",
            0.5,
            [figures["second"] / figures["install"] for figures in rounds],
        ),
        (
            "the same: disk beside the first version",
            0.3,
            [figures["disk of second"] / figures["disk of install"] for figures in rounds],
        ),
    ):
        report(name, values, aim)
    measure_warm_starts(host, make_program(place), host.home / "shiv0")


def make_program(place: Path) -> Program:
    """Return a program that does nothing, with the starter, once it is up to date."""
    program = Program(place)
    program.publish("1.0")
    program.edit('MAIN: "list[str]" = ["python", "-m", "hello"]', 'MAIN = ["python", "-c", "pass"]')
    program.start()
    return program


def measure_warm_starts(host: Host, program: Program, home: Path) -> None:
    """Print the processor time of a start with nothing new by the starter, beside that of a warm start by shiv."""
    ratios = []
    for number in range(STARTS):
        start, shiv = time_acts(
            number, program.start, lambda: host.run(host.python, host.home / "shop.pyz", "-c", "pass", home=home)
        )
        ratios.append(start.processor / shiv.processor)
    report("a start with nothing new by the starter: processor time beside a warm one by shiv", ratios, 0.5)
