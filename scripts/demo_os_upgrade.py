"""The story of `make demo-os-upgrade`: Debian 12 becomes Debian 13 under two sites, and releaser rebuilds both.

A real one: debootstrap, `apt-get full-upgrade` and `autoremove` in a chroot, as root; it takes ten minutes and 2 GB.
The chroot goes away at the end unless KEEP=1. releaser runs on a Python that the OS does not own: the one that runs
this script, or, where that is the system's, one of `uv python install`.
"""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chroots import HOUSE, Host, copy_python, debian_host
from demo import FILES

from tests.support.smtp import MailServer, mail_server, read_mail

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


def install_releaser(host: Host) -> None:
    """Install releaser for all users, on a Python that the OS does not own."""
    uv = Path(sys.executable).parent / "uv"
    shutil.copy(uv, host.root / "usr/local/bin/uv")
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", host.root / "opt/wheel", HOUSE], check=True)
    python, base = "3.13", Path(sys.base_prefix)
    if not base.is_relative_to("/usr"):
        copy_python(host, base)
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
    packages = "git python3 python3-venv python3-pip python3-django"
    with debian_host("bookworm", packages) as host, mail_server() as server:
        tell_story(host, server)


if __name__ == "__main__":
    main()
