"""Who has signed a bundle, and whether that is somebody whom this host trusts."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError, os_reason, refuse
from releaser.system.files import read_file
from releaser.system.temporary import temporary_directory
from releaser.tools.ssh_keygen import SshKeygen

if TYPE_CHECKING:
    from releaser.system.process import Runner

NAMESPACE = "releaser-bundle"  # so that no signature for git, or of a file, is one of a bundle


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Whom a host trusts: the files that ssh-keygen(1) calls ALLOWED SIGNERS and KEY REVOCATION LISTS."""

    signers: Path
    revoked: Path | None = None

    def verify(self, runner: Runner, data: bytes, signature: bytes | None, *, namespace: str = NAMESPACE) -> str:
        """Return who has signed; PreflightError if that is nobody, or nobody whom this host trusts."""
        if signature is None:
            refuse("it is not signed", "Have it signed where it is made: `bundle create --sign KEY`.")
        for file, setting in ((self.signers, "bundle_signers"), (self.revoked, "bundle_revoked")):
            if file is not None:
                _refuse_foreign(file, setting)
        keygen = SshKeygen(runner=runner)
        with temporary_directory() as directory:
            file = Path(directory, "signature")
            file.write_bytes(signature)
            try:
                found = keygen.find_signers(file, self.signers)
                if not found:
                    refuse(f"nobody in {self.signers} has signed it", "Get it from somebody whom this host trusts.")
                signer = found[0]
                keygen.verify(
                    data, file, signer=signer, allowed=self.signers, namespace=namespace, revoked=self.revoked
                )
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
        refuse(f"{key} cannot sign: {reason}", "Name a private key, or a public one that the agent has.")


def _refuse_foreign(file: Path, setting: str) -> None:
    """See that nobody but root and this user can say whom this host trusts. Raises PreflightError."""
    try:
        read_file(file)
        status = file.stat()
    except OSError as error:
        refuse(f"{file} cannot be read: {os_reason(error)}", f"Correct `{setting}`.")
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
        message = f"{file} belongs to another user (uid {status.st_uid}), or everybody can write it"
        refuse(message, f"Let root or this user own it, and `chmod o-w {file}`; or correct `{setting}`.")
