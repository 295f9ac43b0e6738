"""Digests are those of `hashlib`, whatever the Python has."""

import hashlib
import importlib
import sys

import pytest

from releaser.system import digests


@pytest.mark.parametrize("missing", [(), ("_sha2",), ("_sha2", "_sha256"), ("_sha1",)])
def test_a_digest_is_that_of_hashlib(missing: tuple[str, ...]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in missing:
            patch.setitem(sys.modules, name, None)
        patch.delitem(sys.modules, "hashlib")
        loaded = importlib.reload(digests)
        assert [loaded.hex_digest(data) for data in (b"", b"tea" * 100_000)] == [
            hashlib.sha256(data).hexdigest() for data in (b"", b"tea" * 100_000)
        ]
        assert loaded.blob_id(b"tea\n") == hashlib.sha1(b"blob 4\0tea\n", usedforsecurity=False).hexdigest()
    importlib.reload(digests)
