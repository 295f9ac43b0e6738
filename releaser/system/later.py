"""Modules that are imported at their first use: they are slow to import, and many commands do without them."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # importing `typing` would take a while
if TYPE_CHECKING:
    from typing import Any


class Later:
    """Stands for a module."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


class LaterLogger:
    """Stands for the logger of this name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, name: str) -> Any:
        import logging

        return getattr(logging.getLogger(self.name), name)
