"""The memory of a run."""

import ctypes

import pytest

from releaser.system.memory import returned_large_blocks


class _Library:
    """Stands for the C library, as nothing tells what its limit is."""

    def __init__(self) -> None:
        self.limits: list[int] = []

    def mallopt(self, option: int, size: int) -> int:
        assert option == -3
        self.limits.append(size)
        return 1


def test_the_limit_is_low_in_the_block_and_high_after_it_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    library = _Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    seen = list[int]()

    def fail() -> None:
        with returned_large_blocks():
            seen.extend(library.limits)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [64 << 10]
    assert library.limits == [64 << 10, 32 << 20]


def test_a_c_library_without_such_a_limit_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    with returned_large_blocks():
        pass


def test_this_c_library_takes_both_limits() -> None:
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        pytest.skip("this C library has no mallopt")
    assert [library.mallopt(-3, size) for size in (64 << 10, 32 << 20)] == [1, 1]
