"""The story of `make demo-dist`: the wheel of `make dist` on a bare Debian 12 and 13, as an ordinary user.

In a chroot of each, as root with debootstrap, are run: the README's lines about installing, with the wheel in place of
the checkout; the story of `make demo`; and the lines of the tutorial. Both twice: with the shadow mounted, and where
the kernel makes no user namespace, as on Ubuntu 24.04. Names of suites as arguments choose among them. It takes five
minutes and 1 GB; KEEP=1 keeps the chroots.
"""

import re
import shlex
import shutil
import sys
import time
from pathlib import Path

from chroots import HOUSE, Host, debian_host

SUITES = {"bookworm": "Debian 12", "trixie": "Debian 13"}
USER = "ada"
PLACE = f"/home/{USER}"
TOOL = f"{PLACE}/.local/share/uv/tools/venv-releaser/bin/python"
_FENCE = re.compile(r'^```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def read_install_lines(wheel: str) -> tuple[str, str]:
    """Return the README's lines for root, and those for the owner of a site, with a wheel in place of the checkout."""
    section = (HOUSE / "README.md").read_text("utf-8").partition("## Install\n")[2].partition("\n## ")[0]
    lines = "".join(text for kind, _, text in _FENCE.findall(section) if kind == "sh").splitlines()
    as_root = [line.removeprefix("sudo ").replace("install ", "install -qq -y ") for line in lines if "sudo" in line]
    as_user = [re.sub(r" \.$", f" {wheel}", line) for line in lines if "sudo" not in line]
    if len(as_root) != 1 or wheel not in "\n".join(as_user):
        sys.exit("The README installs in another way than this script knows.")
    return "\n".join(as_root), "\n".join(as_user)


def read_tutorial() -> str:
    """Return the tutorial as a script of a shell: its files, and its commands."""
    lines = ["set -ex"]
    for kind, title, text in _FENCE.findall((HOUSE / "docs/tutorial.md").read_text("utf-8")):
        if title:
            lines.append(f"cat >{title} <<'END'\n{text}END")
        elif kind == "console":
            lines += re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    # What the page says at its end.
    return "\n".join([*lines, "releaser status | tail -n 1 | grep -x well", 'test -z "$(git status --porcelain)"', ""])


def install(host: Host, wheel: Path) -> None:
    """Install releaser as the README says, for an ordinary user."""
    host.run(f"useradd --create-home --shell /bin/sh {USER}")
    for source in (wheel, HOUSE / "requirements/product.txt", HOUSE / "scripts/demo.py"):
        target = host.root / PLACE.lstrip("/") / source.relative_to(HOUSE)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target)
    host.write(f"{PLACE}/tutorial.sh", read_tutorial())
    host.write(f"{PLACE}/.gitconfig", "[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = main\n")
    host.run(f"chown -R {USER}: {PLACE}")
    as_root, as_user = read_install_lines(shlex.quote(str(wheel.relative_to(HOUSE))))
    host.run(as_root)
    host.env |= {"HOME": PLACE, "PATH": f"{PLACE}/.local/bin:{host.env['PATH']}"}
    host.run(f"cd {PLACE}\n{as_user}\nreleaser --version", USER, loud=True)


def tell_story(suite: str, wheel: Path) -> list[str]:
    """Return a row for each story that was told on a host."""
    rows = []
    with debian_host(suite, "git python3") as host:
        install(host, wheel)
        for shadow, has_namespaces in (("mounted", True), ("at its own path", False)):
            place = f"{PLACE}/{shadow.split()[-1]}"
            host.run(f"mkdir {place}", USER)
            for name, command in (("demo", f"{TOOL} {PLACE}/scripts/demo.py"), ("tutorial", f"sh {PLACE}/tutorial.sh")):
                began = time.monotonic()
                host.run(f"cd {place}\n{command}", USER, loud=True, has_namespaces=has_namespaces)
                rows.append(f"| {SUITES[suite]} | {name} | {shadow} | {time.monotonic() - began:.0f} s |")
            command = f"cd {place}/shop_stuff/shop\nreleaser check"
            host.run(command, USER, loud=True, has_namespaces=has_namespaces)
    return rows


def main() -> None:
    """Tell the story on each host, then print a table."""
    wheel = next((HOUSE / "dist").glob("*.whl"))
    rows = [row for suite in sys.argv[1:] or SUITES for row in tell_story(suite, wheel)]
    print("\n| host | story | shadow | seconds |\n|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
