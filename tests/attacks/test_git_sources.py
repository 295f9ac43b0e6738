"""Packages from git are fetched with the owner's keys and passwords, and built without access to them."""

import base64
import http.server
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.attacks.people import OWNER, People, a_site
from tests.e2e.refusals import script
from tests.e2e.scenes import edit_pyproject
from tests.e2e.test_group_use import base_python, script_of
from tests.support.commands import run, uv_executable
from tests.support.guards import require
from tests.support.serving import Quiet, handler_server
from tests.support.templates import Templates
from tests.support.wheels import write_sdist

GIT = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-C")
# It reads what the system sets, as ssh does each time, needs the key, and then runs here what it was to run elsewhere.
SSH = 'ssh -G nowhere >/dev/null && cat ~/.ssh/id >/dev/null || exit 255\nfor last; do :; done\nexec sh -c "$last"'
WITH_SETTINGS_OF_THE_SYSTEM = """\
mount -t tmpfs none /etc/ssh/ssh_config.d && chmod 755 /etc/ssh/ssh_config.d && umask 022
echo 'Host nowhere' >/etc/ssh/ssh_config.d/20-system.conf && exec "$@"
"""
PROJECT = '[project]\nname = "{name}"\nversion = "1.0"\n[build-system]\nrequires = []\n'
PROJECT += 'build-backend = "backend"\nbackend-path = ["."]\n'
# A build backend that says what it finds of its user's.
BACKEND = """
import os, zipfile
from pathlib import Path

def found():
    for name in (".ssh/id", ".netrc", ".git-credentials", ".gnupg/id", "Maildir/mail"):
        try:
            text = Path.home().joinpath(name).read_text()
        except OSError:
            continue
        if text:
            yield name
    yield from {{"SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_ASKPASS", "CREDENTIALS_DIRECTORY"}} & os.environ.keys()

def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "{name}-1.0-py3-none-any.whl"
    files = {{
        "{name}/__init__.py": f"__version__ = '1.0'\\nREACHED = {{sorted(found())}}\\n",
        "{name}-1.0.dist-info/METADATA": "Metadata-Version: 2.2\\nName: {name}\\nVersion: 1.0\\n",
        "{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    files["{name}-1.0.dist-info/RECORD"] = "".join(f"{{path}},,\\n" for path in files)
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
"""
BY_GIT = ("theme", "motif", "frame")


class WithPassword(Quiet, http.server.SimpleHTTPRequestHandler):
    """Serves files to who has the password."""

    def do_GET(self) -> None:
        """Refuse who has none."""
        if self.headers.get("Authorization") == "Basic " + base64.b64encode(b"ada:secret").decode():
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def repositories(tmp_path: Path) -> Iterator[Path]:
    """Make a directory of repositories, each with a package."""
    place = Path("/var/tmp") / f"git-sources-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    for name in BY_GIT:
        (place / name).mkdir(mode=0o755, parents=True)
        (place / name / "pyproject.toml").write_text(PROJECT.format(name=name), encoding="utf-8")
        (place / name / "backend.py").write_text(BACKEND.format(name=name), encoding="utf-8")
        for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Begin"]):
            run([*GIT, place / name, *words], cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)}, check=0)
        run([*GIT, place / name, "update-server-info"], cwd=tmp_path, env=os.environ, check=0)
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def test_packages_are_built_without_the_credentials_that_fetched_them(
    people: People, templates: Templates, everybodys: Path, repositories: Path
) -> None:
    """By ssh, by a stored password, by one in the URL; so is one from an index, which the same run of uv builds."""
    settings = Path("/etc/ssh/ssh_config.d")
    require(shutil.which("ssh") and shutil.which("bwrap") and settings.is_dir(), "ssh and bubblewrap are needed")
    site = a_site(people, templates, everybodys, "git-sources")
    write_sdist(site.index.path, "plain", "1.0", {
        "PKG-INFO": "Metadata-Version: 2.2\nName: plain\nVersion: 1.0\n",
        "pyproject.toml": PROJECT.format(name="plain"),
        "backend.py": BACKEND.format(name="plain"),
    })  # fmt: skip
    run(["chmod", "-R", "a+rX", site.index.path], cwd=people.base, env=os.environ, check=0)
    home = Path(people.of(OWNER).pw_dir)
    with handler_server(partial(WithPassword, directory="/")) as web:
        where = web.partition("://")[2]
        for name in (".ssh/id", ".netrc", ".git-credentials", ".gnupg/id", "Maildir/mail"):
            (home / name).parent.mkdir(exist_ok=True)
            (home / name).write_text("secret", encoding="utf-8")
        (home / ".git-credentials").write_text(f"http://ada:secret@{where}\n", encoding="utf-8")
        (home / ".gitconfig").write_text("[credential]\nhelper = store\n[safe]\ndirectory = *\n", encoding="utf-8")
        run(["chown", "-R", OWNER, home], cwd=people.base, env=os.environ, check=0)
        env = {
            **people.environment(OWNER, site),
            "RELEASER_SANDBOX": "bwrap",
            "GIT_CONFIG_GLOBAL": f"{home}/.gitconfig",
            "GIT_SSH_COMMAND": str(script(people.base / "ssh-command", SSH)),
        }
        sources = {
            "theme": f"ssh://git@localhost{repositories}/theme",
            "motif": f"http://{where}{repositories}/motif/.git",
            "frame": f"http://ada:secret@{where}{repositories}/frame/.git",
        }
        lines = "".join(f'{name} = {{ git = "{url}" }}\n' for name, url in sources.items())
        text = edit_pyproject(site, '"alpha"', '"alpha", "theme", "motif", "frame", "plain"')
        site.edit("pyproject.toml", f"{text}\n[tool.uv.sources]\n{lines}")
        people.run_as(OWNER, uv_executable(), "lock", "--directory", site.path, env=env, check=0)
        people.run_as(OWNER, *GIT, site.path, "commit", "--quiet", "-am", "Use them", env=env, check=0)
        become = ["setpriv", f"--reuid={OWNER}", f"--regid={people.of(OWNER).pw_gid}", "--init-groups"]
        words: list[str | Path] = [base_python(), script_of(site), "update", "--project", site.path]
        prefix = ["unshare", "--mount", "sh", "-c", WITH_SETTINGS_OF_THE_SYSTEM, "sh", *become]
        run([*prefix, *words], cwd=Path("/"), env=env, check=0)
    for name in (*BY_GIT, "plain"):
        assert site.live_version(name) == "1.0"
        assert site.python(f"import {name}; print({name}.REACHED)") == "[]"
