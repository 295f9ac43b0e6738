"""Digests of small data, for quick answers: `hashlib` loads OpenSSL, which takes longer than the digest."""

from __future__ import annotations

import sys

try:
    from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore]  # Python 3.12 and newer
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found, no-redef, unused-ignore]
    except ImportError:  # this Python has OpenSSL's alone
        from hashlib import sha256


try:
    from _sha1 import sha1  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    from hashlib import sha1

_LARGE = 1 << 19  # bytes, from which OpenSSL is faster even with the time to load it


def hex_digest(data: bytes) -> str:
    """Return the SHA-256 of data, as hexadecimal digits."""
    if len(data) >= _LARGE or "hashlib" in sys.modules:
        import hashlib

        return hashlib.sha256(data).hexdigest()
    return str(sha256(data).hexdigest())


def blob_id(data: bytes) -> str:
    """Return the id that git gives to a file with this content, in a repository with SHA-1."""
    return str(sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())
