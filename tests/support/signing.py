"""Keys that sign bundles and channels."""

import subprocess
from pathlib import Path


def make_key(base: Path, name: str = "builder", options: str = "") -> tuple[Path, Path]:
    """Return a key of OpenSSH and a file that allows what it signs."""
    key, allowed = base / name, base / f"{name}-signers"
    subprocess.check_call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key])
    public = key.with_suffix(".pub").read_text(encoding="utf-8")
    allowed.write_text(f'{name}@example.org {options}namespaces="releaser-bundle" {public}', encoding="utf-8")
    return key, allowed
