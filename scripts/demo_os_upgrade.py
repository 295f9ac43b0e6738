"""The story of `make demo-os-upgrade`: Debian 12 becomes Debian 13 under two sites, and releaser rebuilds both.

A real one: debootstrap, `apt-get full-upgrade` and `autoremove` in a chroot, as root; it takes ten minutes and 2 GB.
The chroot goes away at the end unless KEEP=1. releaser runs on a Python that the OS does not own: the one that runs
this script, or, where that is the system's, one of `uv python install`.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo import FILES

from tests.support.smtp import MailServer, mail_server, read_mail

HOUSE = Path(__file__).resolve().parents[1]
MIRROR = "http://deb.debian.org/debian"
#: For 3.11 and 3.12 alone: the upgrade has to move it.
BOUND = "psycopg2-binary==2.9.9"
PYPROJECT = """\
[project]
name = "{name}"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["django~=5.2.0", "psycopg2-binary"]
"""
SETTINGS = """\
[tool.releaser]
restart = "none"
audit = "off"
git_pull = false
git_push = false
"""
TOOLS = "UV_TOOL_DIR=/opt/uv/tools UV_TOOL_BIN_DIR=/usr/local/bin UV_PYTHON_INSTALL_DIR=/opt/uv/python"


class Host:
    """A chroot with Debian, its users and their sites."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            "SSL_CERT_FILE": "/opt/ca-certificates.crt",
            "PIP_CERT": "/opt/ca-certificates.crt",
        }

    def run(self, command: str, user: str = "", *, check: bool = True, loud: bool = False) -> int:
        """Run a line of a shell on the host; return its exit status. A `loud` one is shown with its output."""
        words = ["chroot", str(self.root), *(["runuser", "-u", user, "--"] if user else []), "sh", "-ec", command]
        if loud:
            print(f"\n# {command}", flush=True)
        done = subprocess.run(words, env=self.env, capture_output=not loud, text=True, check=False)
        if check and done.returncode:
            sys.exit(f"`{command}` ended with {done.returncode}.\n{done.stdout}{done.stderr}")
        return done.returncode

    def write(self, path: str, text: str) -> None:
        """Write a file of the host."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def mounted(self) -> Iterator[None]:
        """Mount what programs need, and take it away at the end."""
        places = [("proc", "-t", "proc"), ("sys", "--rbind", ""), ("dev", "--rbind", "")]
        try:
            for name, option, kind in places:
                source = [option, kind, name] if kind else [option, f"/{name}"]
                subprocess.run(["mount", *source, str(self.root / name)], check=True)
                subprocess.run(["mount", "--make-rslave", str(self.root / name)], check=True)
            yield
        finally:
            for name, _, _ in reversed(places):
                subprocess.run(["umount", "--recursive", str(self.root / name)], check=False)


def install_debian(root: Path) -> None:
    """Make a Debian 12 with a Python of its own."""
    packages = "ca-certificates,git,python3,python3-venv,python3-pip,python3-django"
    words = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root), MIRROR]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n", encoding="utf-8")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "opt/ca-certificates.crt")


def install_releaser(host: Host) -> None:
    """Install releaser for all users, on a Python that the OS does not own."""
    uv = Path(sys.executable).parent / "uv"
    shutil.copy(uv, host.root / "usr/local/bin/uv")
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", host.root / "opt/wheel", HOUSE], check=True)
    python, base = "3.13", Path(sys.base_prefix)
    if not base.is_relative_to("/usr"):
        shutil.copytree(
            base, host.root / "opt/python", symlinks=True, ignore=shutil.ignore_patterns("test", "__pycache__")
        )
        host.run("echo /opt/python/lib >/etc/ld.so.conf.d/python.conf && ldconfig")
        python = f"/opt/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    host.run(f"{TOOLS} uv tool install --quiet --python {python} /opt/wheel/*.whl")


def make_site(host: Host, name: str, pyproject: str) -> None:
    """Make a user with a site that is fit for `releaser init`."""
    host.run(f"useradd --create-home --shell /bin/sh {name} && install -d -o {name} -g {name} /srv/{name}")
    for path, text in FILES.items():
        if path != "pyproject.toml":
            host.write(f"/srv/{name}/site/{path}", textwrap.dedent(text))
    if pyproject:
        host.write(f"/srv/{name}/site/pyproject.toml", pyproject.format(name=name))
    host.run(f"chown -R {name}:{name} /srv/{name}")
    host.run(f"cd /srv/{name}/site && git init -q -b main && git config user.name {name}", name)
    host.run(f"cd /srv/{name}/site && git config user.email {name}@example.org", name)


def commit(host: Host, name: str) -> None:
    """Commit all that a site has."""
    host.run(f"cd /srv/{name}/site && git add -A && git commit -qm 'Begin the site'", name)


def tell_mails(server: MailServer) -> None:
    """Print what the mail server got."""
    for _, message, _ in server.mails:
        print(f"\n--- mail: {message['Subject']}\n{textwrap.indent(read_mail(message), '    ')}", flush=True)
    server.mails.clear()


def tell_story(host: Host, server: MailServer) -> None:
    """Show two sites before the upgrade, after it, and after the next night."""
    install_releaser(host)
    make_site(host, "shop", f"{PYPROJECT}\n{SETTINGS}ignore = ['psycopg2-binary']\n")
    host.run(f"cd /srv/shop/site && uv lock -q --python /usr/bin/python3 --upgrade-package {BOUND}", "shop")
    commit(host, "shop")
    print("\nThe second site has Django of apt, and a package of pip beside it, in the system's Python.", flush=True)
    make_site(host, "wiki", "")
    host.run("pip install --quiet --break-system-packages --root-user-action ignore humanize==4.9.0")
    # Its project, with the versions that are installed.
    host.run("cd /srv/wiki/site && git commit -q --allow-empty -m Begin", "wiki")
    host.run("cd /srv/wiki/site && releaser init --from-venv /usr/bin/python3", "wiki", loud=True)
    pyproject = host.root / "srv/wiki/site/pyproject.toml"
    print("\nDjango 3.2 of Debian 12 does not work on Python 3.13, so its owner allows 4.2.", flush=True)
    text = re.sub("django~=3[0-9.]*", "django~=4.2.0", pyproject.read_text(), flags=re.IGNORECASE)
    pyproject.write_text(f"{text}\n{SETTINGS}")
    host.run("cd /srv/wiki/site && uv lock -q", "wiki")
    commit(host, "wiki")
    sites = "".join(f"[[site]]\npath = '/srv/{name}/site'\nowner = '{name}'\n" for name in ("shop", "wiki"))
    mail = f"[mail]\nsmtp_host = '{server.host}'\nupdater_admins = 'ops@example.org'\n"
    host.write("/etc/releaser/sites.toml", mail + sites)
    for name in ("shop", "wiki"):
        host.run(f"releaser init --project /srv/{name}/site", name, loud=True)
    host.run("releaser update --all", loud=True)
    tell_mails(server)
    print("\nThe owner of shop lets psycopg2-binary move, which has no build for the new Python.", flush=True)
    host.run("cd /srv/shop/site && sed -i /^ignore/d pyproject.toml && git commit -qam 'Nothing is on hold'", "shop")
    print("\nDebian 12 becomes Debian 13.", flush=True)
    host.run("sed -i s/bookworm/trixie/ /etc/apt/sources.list && apt-get -qq update")
    host.run("apt-get -qq -y -o Dpkg::Options::=--force-confold full-upgrade && apt-get -qq -y autoremove --purge")
    host.run("python3 --version", loud=True)
    host.run("releaser status --all", loud=True, check=False)
    print("\nThe next night:", flush=True)
    host.run("releaser update --all", loud=True, check=False)
    tell_mails(server)
    for name in ("shop", "wiki"):
        host.run(f"releaser show live --project /srv/{name}/site", name, loud=True, check=False)
        host.run(f"cd /srv/{name}/site && .venv/bin/python manage.py check", name, loud=True)
    host.run("releaser status --all", loud=True)


def main() -> None:
    """Tell the story in a temporary directory."""
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        sys.exit("This needs root, and debootstrap: `apt install debootstrap`.")
    root = Path(tempfile.mkdtemp(prefix="releaser-os-"))
    root.chmod(0o755)
    host = Host(root)
    try:
        install_debian(root)
        with host.mounted(), mail_server() as server:
            tell_story(host, server)
    finally:
        if os.environ.get("KEEP"):
            print(f"The host is in {root}.")
        elif not any(str(root) in line for line in Path("/proc/mounts").read_text().splitlines()):
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
