"""SHA-256 of small data, for quick answers: `hashlib` loads OpenSSL, which takes longer than the digest."""

from __future__ import annotations

try:
    from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore]  # Python 3.12 and newer
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found, no-redef, unused-ignore]
    except ImportError:  # this Python has OpenSSL's alone
        from hashlib import sha256


def hex_digest(data: bytes) -> str:
    """Return the SHA-256 of data, as hexadecimal digits."""
    return str(sha256(data).hexdigest())
