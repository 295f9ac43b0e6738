"""The story that `make demo-bundle` tells: a site goes to an empty host as a bundle, gets a delta, and goes back.

The commands are those of docs/guides/bundles.md. The host has Python and git, and no network: each of its commands runs
in an empty network namespace, with directories of the demo in place of /opt and /usr/local/bin.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from stage import DOTENV, DemoError, Stage, chapter, environment, expect, publish, say, set_up

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guides" / "bundles.md"
ALONE = 'mount --bind "$0/opt" /opt && mount --bind "$0/bin" /usr/local/bin && exec "$@"'


def typed(start: str) -> str:
    """Return the command of the guide that starts so."""
    found = re.search(rf"(?m)^(?:\$ )?({re.escape(start)}.*)$", GUIDE.read_text(encoding="utf-8"))
    if found is None:
        message = f"{GUIDE} has no command `{start}`"
        raise DemoError(message)
    return found[1]


class Host:
    """A host with nothing but Python and git."""

    def __init__(self, place: Path) -> None:
        self.place, self.site = place, place / "srv" / "shop_stuff" / "shop"
        for name in ("opt", "bin", "home", "srv/shop_stuff", "etc"):
            (place / name).mkdir(parents=True)
        self.env = environment(Path("/usr/local/bin"), {"PATH": "/usr/bin:/bin", "HOME": str(place / "home")})
        self.alone = ["unshare", "-rnm", "sh", "-c", ALONE, str(place)]

    def show(self, command: str, *, cwd: Path) -> float:
        """Show a command, run it without a network, and return the seconds that it took."""
        say(f"[host]$ {command}")
        words = shlex.split(command.replace("/srv/", f"{self.place}/srv/"))
        if words[0] == "python3":
            words[0] = getattr(sys, "_base_executable", sys.executable)
        began = time.perf_counter()
        ended = subprocess.run([*self.alone, *words], cwd=cwd, env=self.env, stderr=subprocess.STDOUT, check=False)
        expect(ended.returncode == 0, f"`{command}` ended with status {ended.returncode}")
        return time.perf_counter() - began

    def pricetag(self) -> str:
        """Return the live version of a package."""
        code = "import importlib.metadata as m; print(m.version('pricetag'))"
        return subprocess.check_output([self.site / ".venv/bin/python", "-c", code], text=True).strip()


def timed(stage: Stage, command: str) -> float:
    """Show a command on the host that builds; return the seconds that it took."""
    began = time.perf_counter()
    stage.show(command.replace("~", stage.env["HOME"]))
    return time.perf_counter() - began


def tell(stage: Stage, host: Host) -> list[tuple[str, str]]:
    """Tell the story, and return its figures."""
    figures: list[tuple[str, float]] = []
    chapter(
        1,
        "Create a bundle",
        "A release that passed its tests: code, lock, wheels, releaser and uv, in one signed file.",
    )
    stage.show("releaser init")
    stage.show("releaser update")
    figures.append(("create the bundle", timed(stage, typed("releaser bundle create --sign"))))
    chapter(2, "Install it on an empty host", "Python and git are there, a network is not.")
    for name in ("shop.bundle", "signers"):
        (host.site.parent / name).write_bytes((stage.server / name).read_bytes())
    signers = f"RELEASER_BUNDLE_SIGNERS='{host.site.parent / 'signers'}'\n"
    (host.site.parent / ".env").write_text(DOTENV + signers, encoding="utf-8")
    figures.append(
        ("install it on an empty host", host.show(typed("python3 shop.bundle --into"), cwd=host.site.parent))
    )
    expect(host.pricetag() == "1.0", "the host does not run the release of the bundle")
    chapter(3, "Create a delta, and install it", "pricetag 1.1 comes out; the delta has what the host lacks.")
    publish(stage.wheels, "1.1")
    stage.show("releaser update")
    figures.append(("create the delta", timed(stage, typed("releaser bundle create --base"))))
    (host.site.parent / "shop.delta").write_bytes((stage.server / "shop.delta").read_bytes())
    figures.append(("install the delta", host.show(typed("releaser bundle install"), cwd=host.site)))
    expect(host.pricetag() == "1.1", "the host does not run the release of the delta")
    chapter(4, "Go back", "Packages and commit, without a remote.")
    figures.append(("go back", host.show(typed("releaser rollback"), cwd=host.site)))
    expect(host.pricetag() == "1.0", "the rollback did not bring back the first release")
    host.show("releaser list", cwd=host.site)
    sizes = [(name, f"{(stage.server / name).stat().st_size / 1e6:.2f} MB") for name in ("shop.bundle", "shop.delta")]
    return [*sizes, *((what, f"{seconds:.1f} s") for what, seconds in figures)]


def main(place: Path) -> int:
    """Tell the story."""
    began, home = time.monotonic(), place / "home"
    try:
        if subprocess.run(["unshare", "-rnm", "true"], check=False).returncode:
            message = "an empty network namespace is needed: run it as root, or allow user namespaces"
            raise DemoError(message)
        stage = Stage(place, os.environ, programs=place / "venv" / "bin", name="shop")
        set_up(stage)
        stage.env["HOME"] = str(home)
        (home / ".ssh").mkdir(parents=True)
        key = home / ".ssh" / "id_ed25519"
        stage.ask("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "build", "-f", key)
        signer = 'build@example.org namespaces="releaser-bundle" ' + key.with_suffix(".pub").read_text(encoding="utf-8")
        (stage.server / "signers").write_text(signer, encoding="utf-8")
        figures = tell(stage, Host(place / "host"))
    except DemoError as error:
        print(f"\nThe demo went wrong: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    say("\n" + "\n".join(f"  {what:<32}{found}" for what, found in figures))
    say(f"\nThat is all of it: {time.monotonic() - began:.0f} seconds, and every claim above was checked.")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
