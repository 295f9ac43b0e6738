"""Whether a file still has the contents that its package's RECORD names.

A hash there is such as `sha256=...`, in URL-safe base64 without padding, as the packaging specifications have it.
"""

from __future__ import annotations

import base64
import hashlib

_CHUNK = 1 << 18  # bytes
_ALGORITHMS = frozenset({"sha256", "sha384", "sha512"})  # those that the specifications admit


def is_checkable(hashed: str) -> bool:
    """Whether a hash tells anything about the contents; scripts made at install time, and RECORD itself, have none."""
    return hashed.partition("=")[0] in _ALGORITHMS


def matches(path: str, hashed: str) -> bool:
    """Whether a file has the contents that a checkable hash names. Raises OSError."""
    return hash_of(path, hashed.partition("=")[0]) == hashed.rstrip("=")


def hash_of(path: str, algorithm: str = "sha256") -> str:
    """Return the hash of a file's contents, in the form of RECORD. Raises OSError."""
    found = hashlib.new(algorithm)
    with open(path, "rb", buffering=0) as file:  # most files are small: hashlib.file_digest takes half as long again
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return f"{algorithm}={base64.urlsafe_b64encode(found.digest()).rstrip(b'=').decode('ascii')}"
