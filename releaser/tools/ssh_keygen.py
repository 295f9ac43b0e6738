"""Drives ssh-keygen: signing, and verifying who has signed (ssh-keygen(1), `-Y`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.system.process import Finished, Runner

_SECONDS = 60.0  # an agent or a hardware key may ask a person


class SshKeygen(Frozen):
    """OpenSSH's ssh-keygen, 8.2 or newer; every method raises ToolError."""

    runner: Runner

    def sign(self, data: bytes, key: Path, *, namespace: str) -> bytes:
        """Return a key's signature for one purpose; with Ed25519 it is always the same.

        `key` is a private key, or a public one whose private half an agent has.
        """
        return self._run("sign", "-f", str(key), "-n", namespace, input=data).stdout.encode()

    def find_signers(self, signature: Path, allowed: Path) -> tuple[str, ...]:
        """Name whom an `allowed_signers` file knows by the key of a signature; nobody if it knows none."""
        found = self._run("find-principals", "-s", str(signature), "-f", str(allowed), check=False)
        named = found.stdout.splitlines() if found.returncode == 0 else ()
        return tuple(one for one in named if not one.startswith("!"))  # who is excepted from a pattern after it

    def verify(  # noqa: PLR0913 - what ssh-keygen has to know
        self, data: bytes, signature: Path, *, signer: str, allowed: Path, namespace: str, revoked: Path | None
    ) -> None:
        """See that `signer` has signed for this purpose, by a key that counts now and is not revoked."""
        more = ("-r", str(revoked)) if revoked is not None else ()
        words = ("-f", str(allowed), "-I", signer, "-n", namespace, "-s", str(signature), *more)
        self._run("verify", *words, input=data)

    def _run(self, action: str, *words: str, input: bytes = b"", check: bool = True) -> Finished:  # noqa: A002
        argv = ["ssh-keygen", "-Y", action, *words]
        return self.runner.run(argv, cwd=Path("/"), timeout=_SECONDS, input=input, check=check)
