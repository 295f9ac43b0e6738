"""Who has signed a bundle, and whether that is somebody whom this host trusts."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from releaser.errors import ToolError, os_reason, refuse
from releaser.system.files import only_files
from releaser.system.frozen import Frozen
from releaser.system.temporary import temporary_directory
from releaser.tools.ssh_keygen import SshKeygen

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.system.process import Runner

NAMESPACE = "releaser-bundle"  # so that no signature for git, or of a file, is one of a bundle


class Trust(Frozen):
    """Whom a host trusts: the files that ssh-keygen(1) calls ALLOWED SIGNERS and KEY REVOCATION LISTS."""

    signers: Path
    revoked: Path | None = None

    def verify(self, runner: Runner, data: bytes, signature: bytes | None, *, namespace: str = NAMESPACE) -> str:
        """Return who has signed; PreflightError if that is nobody, or nobody whom this host trusts."""
        if signature is None:
            refuse("it is not signed", "Sign it where it is created: `bundle create --sign KEY`.")
        keygen = SshKeygen(runner=runner)
        with temporary_directory() as directory:
            file = directory / "signature"
            file.write_bytes(signature)
            allowed = _copy(self.signers, directory / "signers", "bundle_signers")
            revoked = _copy(self.revoked, directory / "revoked", "bundle_revoked") if self.revoked else None
            try:
                found = keygen.find_signers(file, allowed)
                if not found:
                    refuse(
                        f"it was not signed by anybody in {self.signers}", "Get it from somebody whom this host trusts."
                    )
                signer = found[0]
                keygen.verify(data, file, signer=signer, allowed=allowed, namespace=namespace, revoked=revoked)
            except ToolError as error:
                reason = (error.output.strip().splitlines() or [error.message])[0]
                refuse(f"its signature is not valid: {reason}", error.advice or "Do not install it.")
        return signer


def sign(runner: Runner, data: bytes, key: Path, *, namespace: str = NAMESPACE) -> bytes:
    """Sign with a key of OpenSSH. Raises PreflightError."""
    try:
        return SshKeygen(runner=runner).sign(data, key, namespace=namespace)
    except ToolError as error:
        reason = (error.output.strip().splitlines() or [error.message])[0]
        refuse(
            f"signing with {key} failed: {reason}",
            "Give a private key, or a public one whose private key is in ssh-agent.",
        )


def _copy(file: Path, place: Path, setting: str) -> Path:
    """Copy a file that says whom this host trusts, which nobody but root and this user may be able to change.

    ssh-keygen reads the copy, as often as it likes. Raises PreflightError.
    """
    try:
        above = file.resolve().parent.stat().st_mode
        with open(file, "rb", opener=only_files) as stream:
            status = os.fstat(stream.fileno())
            place.write_bytes(stream.read())
    except OSError as error:
        refuse(f"{file} cannot be read: {os_reason(error)}", f"Correct `{setting}`.")
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
        message = f"{file} belongs to another user (uid {status.st_uid}), or anybody can write to it"
        refuse(message, f"Make root or this user its owner, and run `chmod o-w {file}`; or correct `{setting}`.")
    if above & stat.S_IWOTH and not above & stat.S_ISVTX:
        refuse(f"anybody can replace {file}", f"Run `chmod o-w {file.resolve().parent}`, or correct `{setting}`.")
    return place
