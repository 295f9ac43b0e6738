"""Starts a bundle on a host without releaser: `python3 FILE install|run|verify`. Standard library, Python 3.8 or newer.

It compares each file with the manifest, but checks no signature: whoever starts it has done that, or trusts its source.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

FILE = os.path.abspath(sys.argv[0])
HELP = f"""python3 {sys.argv[0]} install [--into DIR] …   bring releaser along, and run `releaser bundle install FILE …`
python3 {sys.argv[0]} run -- COMMAND…          run a command with the code and packages of FILE, as in a CI job
python3 {sys.argv[0]} verify                   compare all files with the manifest; only a signature says who made it
"""


def unpack(place: Path, *tops: str) -> None:
    """Write the members whose names begin so into a directory."""
    with zipfile.ZipFile(FILE) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        for name, facts in manifest["members"].items():
            if not name.startswith(tops):
                continue
            data = b"" if name in manifest["omitted"] else archive.read(name)
            if hashlib.sha256(data).hexdigest() != facts["sha256"] or ".." in name.split("/") or name[0] == "/":
                sys.exit(f"{FILE} has not `{name}` as its manifest says. A delta needs `releaser bundle install`.")
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
            (place / name).chmod(0o755 if facts.get("executable") else 0o644)


def start(*words: object, **variables: object) -> str:
    """Return what a program prints, once it has come to its end."""
    env = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    done = subprocess.run([str(word) for word in words], env=env, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() if done.returncode == 0 else sys.exit(f"{FILE}: `{words[0]}` failed.")


def main(place: Path, words: "list[str]") -> None:
    """Do what is asked: become another program, or end."""
    if words[:1] not in (["install"], ["run"], ["verify"]):
        print(HELP)
        sys.exit(0 if words in ([], ["--help"]) else 2)
    if words == ["verify"]:
        unpack(place, "")
        print(f"Every file in {FILE} is as its manifest says.")
        sys.exit()
    unpack(place, "tools/venv_releaser-")
    wheel = next(place.glob("tools/venv_releaser-*.whl"))
    sys.path.insert(0, str(wheel))
    from releaser.bundles import alone

    if words[0] == "run":
        shutil.rmtree(place)
        alone.run(FILE, words[1:], unpack, start)
    program = alone.bring_releaser(place, wheel.name.split("-")[1], unpack, start)
    shutil.rmtree(place)
    os.execv(program, [program, "bundle", "install", FILE, *words[1:]])


if __name__ == "__main__":
    try:
        with tempfile.TemporaryDirectory() as directory:
            main(Path(directory), sys.argv[1:])
    except OSError as error:
        sys.exit(f"{FILE}: `{error.filename}`: {error.strerror}. It needs git, and a TMPDIR where programs may start.")
    except (ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        sys.exit(f"{FILE} is damaged: {error}.")
