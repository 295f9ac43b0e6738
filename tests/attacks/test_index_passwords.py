"""The passwords of package indexes are only for uv: its builds find none, wherever they are stored."""

import json
import os
from pathlib import Path

from tests.e2e.scenes import edit_pyproject
from tests.support.simple_index import serving
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import write_sdist

PASSWORD = "let/me in"
_OF_BACKEND = '[build-system]\nrequires = ["helper"]\nbuild-backend = "backend"\nbackend-path = ["."]\n'
#: It looks for the password where it can be, and needs a package of the same index. It must be in a sandbox for that:
#: who opens the pipes of all processes takes what was meant for others, such as half of what another test pushes.
_BACKEND = """
import glob, json, os, urllib.parse
from zipfile import ZipFile
import helper

def look():
    env = os.environ
    places = [*glob.glob("/proc/[0-9]*/environ"), *glob.glob("/proc/[0-9]*/fd/*")]
    home, config = env["HOME"], env.get("XDG_CONFIG_HOME", "/nowhere")
    places += [f"{{home}}/.netrc", f"{{home}}/.local/share/uv/credentials/credentials.toml", f"{{config}}/uv/uv.toml"]
    found = []
    for place in places:
        try:
            number = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
            text = os.read(number, 1000000).decode(errors="replace")
        except OSError:
            continue
        if {password!r} in urllib.parse.unquote(text):
            found.append(place)
    tool = os.path.lexists(f"{{config}}/tool") or "XDG_CONFIG_HOME" not in env
    with open({place!r}, "a") as file:
        file.write(json.dumps([found, tool]) + "\\n")

def build_wheel(directory, settings=None, metadata=None):
    if {looks}:
        look()
    info = "alpha-{version}.dist-info"
    with ZipFile(os.path.join(directory, "alpha-{version}-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("alpha/__init__.py", "__version__ = '{version}'")
        wheel.writestr(f"{{info}}/METADATA", "Metadata-Version: 2.1\\nName: alpha\\nVersion: {version}\\n")
        wheel.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{{info}}/RECORD", "")
    return "alpha-{version}-py3-none-any.whl"
"""


def offer(site: SampleSite, version: str, *, mark: Path, looks: bool) -> None:
    backend = _BACKEND.format(place=str(mark), version=version, password=PASSWORD, looks=looks)
    write_sdist(site.index.path, "alpha", version, {"pyproject.toml": _OF_BACKEND, "backend.py": backend})


def keep(site: SampleSite, place: str, url: str) -> dict[str, str]:
    """Keep the password in a place, and return the variables that are needed for it."""
    if place == "variable":
        return {"UV_INDEX_MY_OWN_USERNAME": "me", "UV_INDEX_MY_OWN_PASSWORD": PASSWORD, "UV_GITHUB_TOKEN": PASSWORD}
    if place == "netrc":
        netrc = Path(site.env["HOME"], ".netrc")
        netrc.write_text(f'machine 127.0.0.1 login me password "{PASSWORD}"\n', encoding="utf-8")
        netrc.chmod(0o600)
    else:
        Path(site.env["HOME"], ".netrc").unlink()
        site.uv("auth", "login", url, "--username", "me", "--password", PASSWORD)
    return {}


def test_a_build_does_not_find_the_password_of_its_index(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site(venv=True, packages={"beta": "1.0"}, dependencies=["beta"])
    Path(site.env["HOME"], ".config", "tool").mkdir(parents=True)
    mark = tmp_path / "notes" / "mark"
    mark.parent.mkdir()
    # What is built can write nothing but what it has found.
    site.env |= {"RELEASER_SANDBOX": "bwrap", "RELEASER_TEST_WRITABLE": str(mark.parent)}
    del site.env["SAMPLE_SITE_RUNS"]
    with serving(site.index.path) as index:
        site.publish("helper", "1.0")
        offer(site, "1.0", mark=mark, looks=False)
        settings = f'[[tool.uv.index]]\nname = "my-own"\nurl = "{index.url}"\ndefault = true'
        text = edit_pyproject(site, 'no-index = true\nfind-links = ["../index"]', settings)
        site.edit("pyproject.toml", text.replace('"beta"', '"beta", "alpha"'))
        site.push_commit("Take packages from a server", lock=True)
        site.uv("sync", "--quiet", "--group", "local")
        site.releaser("init", check=0)
        index.login = f"me:{PASSWORD}"
        for place, version in (("variable", "1.1"), ("netrc", "1.2"), ("store", "1.3")):
            offer(site, version, mark=mark, looks=True)
            env = keep(site, place, index.url)
            reading, writing = os.pipe()
            os.write(writing, b"for somebody else")
            site.releaser("update", check=0, env=env)
            os.close(writing)
            with open(reading, "rb") as pipe:
                assert pipe.read() == b"for somebody else"
            assert site.live_version("alpha") == version
            looked = [json.loads(line) for line in mark.read_text(encoding="utf-8").splitlines()]
            assert looked
            assert all(not found and tool for found, tool in looked), looked
            mark.unlink()
