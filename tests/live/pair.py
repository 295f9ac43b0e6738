"""Two small releases and a symlink, with any Python: enough to see what a process does when the symlink moves."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from releaser.releases import startup
from releaser.system.files import replace_symlink
from tests.support.commands import clean_environment
from tests.support.guards import require

PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
WAIT = 60  # seconds for a process to say something

# Tells where it runs once a line comes on standard input; what it imports then, nothing has imported before.
PROBE = """
import early

def facts():
    import importlib.metadata, json, os, site, sys
    import extra, late, package.late
    return {
        "early": early.RELEASE, "late": late.RELEASE, "extra": extra.RELEASE, "submodule": package.late.RELEASE,
        "metadata": importlib.metadata.version("late").rpartition("+")[2],
        "metadata path": str(importlib.metadata.distribution("late").locate_file("")),
        "prefix": sys.prefix, "exec_prefix": sys.exec_prefix, "executable": sys.executable,
        "site-packages": site.getsitepackages(), "path": sys.path, "pid": os.getpid(),
        "file": late.__file__,
    }

def answer():
    import json
    print(json.dumps(facts()), flush=True)

def main():
    import package
    print("ready", flush=True)
    input()
    answer()

if __name__ == "__main__":
    main()
"""
SCRIPT = "from probe import main\nmain()\n"


def interpreter(version: str) -> Path:
    """Return an interpreter of that version, or at that path, outside any venv; skip the test where there is none."""
    if version.startswith("/"):
        require(Path(version).is_file(), f"{version} is not installed")
        return Path(version)
    places = [Path(name) for name in (f"/usr/bin/python{version}", f"/usr/local/bin/python{version}")]
    roots = [Path(os.environ.get("PYENV_ROOT", "")), Path.home() / ".pyenv"]
    roots = [root for root in roots if os.access(root, os.R_OK | os.X_OK)]
    places += [path for root in roots for path in sorted(root.glob(f"versions/{version}.*/bin/python{version}"))]
    if (found := shutil.which(f"python{version}")) and "shims" not in found:
        places.append(Path(found))
    works = [path for path in places if os.access(path, os.X_OK) and path.is_file()]
    require(works, f"Python {version} is not installed")
    return works[0]


class Pair:
    """Releases `a` and `b` below `base`, and the symlink `site/.venv`, which leads to `a` first."""

    def __init__(self, base: Path, version: str, *, pinned: bool = True) -> None:
        self.site = base / "site"
        self.link = self.site / ".venv"
        self.env = clean_environment(base / "home", base / "uv-cache")
        self.site.mkdir(parents=True)
        (self.site / "x.py").write_text(SCRIPT, encoding="utf-8")
        (self.site / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n', encoding="utf-8")
        for name in "ab":
            self._make(name, interpreter(version), pinned=pinned)
        self.flip("a")

    def release(self, name: str) -> Path:
        """Return the directory of a release."""
        return self.site.parent / "releases" / name

    def venv(self, name: str) -> Path:
        """Return the venv of a release."""
        return self.release(name) / "venv"

    def packages(self, name: str) -> Path:
        """Return the site-packages of a release."""
        (found,) = self.venv(name).glob("lib/python*/site-packages")
        return found

    def flip(self, name: str) -> None:
        """Let the symlink lead to a release, as releaser does."""
        replace_symlink(self.link, os.path.relpath(self.venv(name), self.site), staging=self.site.parent)

    def _make(self, name: str, python: Path, *, pinned: bool) -> None:
        # By its path in the release, as uv makes it: the shebangs of scripts name it.
        words = [str(python), "-m", "venv", "--without-pip", str(self.venv(name))]
        subprocess.run(words, check=True, env=self.env, timeout=WAIT)
        place = self.packages(name)
        mark = f"RELEASE = {name!r}\n"
        for module in ("early.py", "late.py", "package/late.py", "extra.d/extra.py"):
            (place / module).parent.mkdir(exist_ok=True)
            (place / module).write_text(mark, encoding="utf-8")
        (place / "package" / "__init__.py").write_text("", encoding="utf-8")
        (place / "probe.py").write_text(PROBE, encoding="utf-8")
        # What other start-up lines import may import more later, and what they add to the path comes after the pin.
        (place / "_before.pth").write_text("import package\n", encoding="utf-8")
        (place / "extra.pth").write_text("extra.d\n", encoding="utf-8")
        (place / f"late-1+{name}.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.1\nName: late\nVersion: 1+{name}\n"
        (place / f"late-1+{name}.dist-info" / "METADATA").write_text(metadata, encoding="utf-8")
        for venv, script in ((self.venv(name), "probe"), (self.link, "adopted")):
            program = self.venv(name) / "bin" / script
            program.write_text(f"#!{venv / 'bin' / 'python'}\n{SCRIPT}", encoding="utf-8")
            program.chmod(0o755)
        if pinned:
            startup.put_into(self.venv(name))

    def start(self, *words: str | Path, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start a program in the directory of the site."""
        return subprocess.Popen(
            list(map(str, words)),
            cwd=self.site,
            env={**self.env, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def facts_after_flip(self, *words: str | Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Start a program on release `a`, flip to `b`, and return what it tells of itself then."""
        with self.start(*words, env=env) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            said = process.stdout.readline()
            assert said == "ready\n", said + process.stderr.read()
            self.flip("b")
            return dict(json.loads(_answer(process, "\n")))

    def said(self, *words: str | Path, env: Mapping[str, str] | None = None) -> str:
        """Run a program to its end, and return what it printed; it has to succeed and to print no error."""
        with self.start(*words, env=env) as process:
            return _answer(process, "")


def _answer(process: subprocess.Popen[str], typed: str) -> str:
    out, err = process.communicate(typed, timeout=WAIT)
    assert (process.returncode, err) == (0, "")
    return out


def whole(facts: Mapping[str, Any], pair: Pair, name: str) -> None:
    """See that a process is on one release with all that it has."""
    assert {facts[key] for key in ("early", "late", "extra", "submodule", "metadata")} == {name}
    venv, packages = str(pair.venv(name)), str(pair.packages(name))
    assert (facts["prefix"], facts["exec_prefix"]) == (venv, venv)
    assert facts["executable"].startswith(f"{venv}/bin/python")
    assert packages in facts["site-packages"]  # Debian's Python names further ones
    assert all(place.startswith(f"{venv}/") for place in facts["site-packages"])
    assert [Path(facts["metadata path"]), Path(facts["file"]).parent] == [Path(packages)] * 2
    assert names_of(facts["path"], pair.link) == []
    assert facts["path"].count(packages) == 1


def names_of(path: Sequence[str], link: Path) -> list[str]:
    """Return the entries that go by way of the symlink."""
    return [entry for entry in path if entry.startswith(str(link))]
