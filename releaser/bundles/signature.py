"""Signatures of bundles, by ssh-keygen(1): with a person's key, verified against a file of allowed signers."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import BinaryIO

from releaser.errors import ToolError, refuse, require
from releaser.site.owners import Trust, find_strangers
from releaser.site.site import choose_path
from releaser.system import process
from releaser.system.text import word

NAMESPACE = "releaser-bundle"
_TIMEOUT = 120.0  # seconds; a key of an agent may want a touch
_KEPT = ("HOME", "SSH_AUTH_SOCK", "SSH_SK_PROVIDER")


def sign(source: BinaryIO, key: Path) -> bytes:
    """Return the signature of what a file has. Raises PreflightError."""
    finished = _run(source, "-Y", "sign", "-n", NAMESPACE, "-f", os.path.abspath(key))
    if finished.status == 0 and finished.stdout.startswith("-----BEGIN SSH SIGNATURE-----"):
        return finished.stdout.encode()
    advice = f"See whether `ssh-keygen -Y sign -n {NAMESPACE} -f {word(key)}` works; a passphrase needs an agent."
    raise refuse("not-signed", f"`{key}` has not signed: {finished.output.strip() or finished.ending}.", advice)


def verify_signature(data: bytes, signature: bytes, signers: Path) -> str:
    """Return who has signed data, as a file of allowed signers names them; empty if nobody of them has.

    Raises PreflightError if that file does not exist, or if others could write it.
    """
    signers = Path(os.path.abspath(signers))
    require(find_strangers(Trust(os.geteuid(), os.geteuid()), [signers]))
    if not signers.is_file():
        advice = "Correct `bundle_signers`. A line of it is `NAME KEYTYPE KEY`, as in ssh-keygen(1)."
        raise refuse("no-signers", f"`{signers}`, which says who may sign bundles, is no file.", advice)
    with tempfile.TemporaryFile() as source, tempfile.NamedTemporaryFile() as file:
        source.write(data)
        file.write(signature)
        file.flush()
        words = ("-s", file.name, "-f", str(signers))
        names = _run(source, "-Y", "find-principals", *words).stdout
        for name in filter(None, re.split(r"[,\n]", names)):
            if _run(source, "-Y", "verify", "-n", NAMESPACE, "-I", name.strip(), *words).status == 0:
                return str(name).strip()
    return ""


def _run(source: BinaryIO, *words: str) -> process.Finished:
    """Run ssh-keygen, which reads a file from its beginning. Raises PreflightError without it."""
    source.seek(0)
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env |= {"PATH": choose_path(os.environ), "LC_ALL": "C.UTF-8", "SSH_ASKPASS_REQUIRE": "never"}
    try:
        return process.run(
            ["ssh-keygen", *words],
            cwd=Path("/"),
            env=env,
            timeout=_TIMEOUT,
            check=False,
            is_answer=True,
            stdin=source.fileno(),
        )
    except ToolError as error:
        raise refuse("no-ssh-keygen", error.message, "Install it: `sudo apt install openssh-client`.") from error
