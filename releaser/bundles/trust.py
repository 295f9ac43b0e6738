"""Signs bundles, and verifies that a signer is trusted on this host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError, os_reason, refuse
from releaser.system.environment import find_own_program, own_path
from releaser.system.files import read_file
from releaser.system.frozen import Frozen
from releaser.system.temporary import temporary_directory
from releaser.system.trusted_files import find_other_writer

if TYPE_CHECKING:
    from releaser.system.process import Finished, Runner

_SECONDS = 60.0  # an agent or a hardware key may ask a person
NAMESPACE = "releaser-bundle"  # so that signatures for git or for files do not count for bundles


class Trust(Frozen):
    """The trusted signers of a host: the files that ssh-keygen(1) calls ALLOWED SIGNERS and KEY REVOCATION LISTS."""

    signers: Path
    revoked: Path | None = None

    def verify(self, runner: Runner, data: bytes, signature: bytes | None, *, namespace: str = NAMESPACE) -> str:
        """Return the signer. Raises PreflightError without a valid signature by a trusted signer."""
        if signature is None:
            refuse(
                "not-signed",
                "it is not signed",
                "Sign it on the host that creates it: `releaser bundle create --sign KEY`.",
            )
        with temporary_directory() as directory:
            file = directory / "signature"
            file.write_bytes(signature)
            allowed = _copy(self.signers, directory / "signers", "bundle_signers")
            revoked = _copy(self.revoked, directory / "revoked", "bundle_revoked") if self.revoked else None
            found = _ask_keygen(runner, "find-principals", "-s", file, "-f", allowed)
            named = found.stdout.splitlines() if found.returncode == 0 else ()
            signers = [name for name in named if not name.startswith("!")]  # a `!` excludes signers from a pattern
            if not signers:
                detail = found.stderr.partition("\n")[0].rpartition("/")[2].partition(": ")[2].strip()
                why = f" ({detail})" if detail else ""  # such as that the key has expired
                refuse(
                    "signer-not-trusted",
                    f"no signer in {self.signers} has signed it{why}",
                    "Do not install it. Use a bundle or channel from a signer that this host trusts.",
                )
            more = ("-r", revoked) if revoked is not None else ()
            words = ("-f", allowed, "-I", signers[0], "-n", namespace, "-s", file, *more)
            verified = _ask_keygen(runner, "verify", *words, input=data)  # by a key that is valid now and not revoked
            if verified.returncode != 0:  # for a revoked key, ssh-keygen prints nothing
                detail = verified.stderr.strip().rpartition("/")[2]
                why = detail or (
                    f"its key is revoked in {self.revoked}, or that file cannot be read"
                    if self.revoked
                    else "ssh-keygen rejects it"
                )
                refuse("signature-invalid", f"its signature is not valid: {why}", "Do not install it.")
        return signers[0]


def sign(runner: Runner, data: bytes, key: Path, *, namespace: str = NAMESPACE) -> bytes:
    """Return a signature by an OpenSSH key for the purpose `namespace`; with Ed25519 it is always the same.

    `key` is a private key, or a public key whose private key is in ssh-agent. Raises PreflightError.
    """
    try:
        return _ssh_keygen(runner, "sign", "-f", key, "-n", namespace, input=data).stdout.encode()
    except ToolError as error:
        reason = (error.output.strip().splitlines() or [error.message])[0]
        refuse(
            "signing-failed",
            f"signing with {key} failed: {reason}",
            "Name a private key, or a public key whose private key is in ssh-agent.",
        )


def _ask_keygen(runner: Runner, action: str, *words: str | Path, input: bytes = b"") -> Finished:  # noqa: A002
    """Return the result of ssh-keygen, success or failure. Raises PreflightError if it cannot run."""
    try:
        return _ssh_keygen(runner, action, *words, input=input, check=False)
    except ToolError as error:
        refuse("signature-unverifiable", f"its signature cannot be verified: {error.message}", error.advice)


def _ssh_keygen(
    runner: Runner,
    action: str,
    *words: str | Path,
    input: bytes = b"",  # noqa: A002 - as in `Runner.run`
    check: bool = True,
) -> Finished:
    """Run OpenSSH's ssh-keygen, 8.2 or newer (ssh-keygen(1), `-Y`), never one in a venv. Raises ToolError."""
    env = {**runner.environ, "PATH": own_path(runner.environ)}
    program = find_own_program("ssh-keygen", runner.environ) or "ssh-keygen"  # for the error message
    argv = [program, "-Y", action, *words]
    return runner.run(argv, cwd=Path("/"), timeout=_SECONDS, env=env, input=input, check=check)


def _copy(file: Path, place: Path, setting: str) -> Path:
    """Copy a file of trusted or revoked keys, which only root and this user may be able to change.

    ssh-keygen reads the copy, which no one can change meanwhile. Raises PreflightError.
    """
    try:
        found = find_other_writer(file)
        place.write_bytes(b"" if found else read_file(file))
    except OSError as error:
        refuse("signers-unreadable", f"{file} cannot be read: {os_reason(error)}", f"Correct `{setting}`.")
    if found:
        refuse(found.code, found.message, f"{found.advice} Or let `{setting}` name another file.")
    return place
