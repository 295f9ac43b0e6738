"""Tiny wheels, and a directory of them that serves as the only index of a test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import tinybuild

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BACKEND = "tinybuild"


def build_wheel(
    directory: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    modules: Mapping[str, str] | None = None,
    scripts: Mapping[str, str] | None = None,
    requires_python: str | None = None,
    urls: Mapping[str, str] | None = None,
) -> Path:
    """Write a pure Python wheel into `directory`.

    `modules` maps paths to source text (default: `<name>/__init__.py` with `__version__`), `scripts` console
    commands to `module:function`, `urls` labels to project URLs. Equal arguments give equal bytes.
    """
    distribution = tinybuild.Distribution(
        name=name,
        version=version,
        requires=tuple(requires),
        scripts=scripts or {},
        requires_python=requires_python,
        urls=urls or {},
    )
    if modules is None:
        modules = {f"{distribution.module}/__init__.py": f'__version__ = "{version}"\n'}
    return tinybuild.write_wheel(directory, distribution, modules)


class LocalIndex:
    """A directory of wheels for uv's `no-index` and `find-links`; a new version is one more file in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def publish(
        self,
        name: str,
        version: str,
        *,
        requires: Sequence[str] = (),
        modules: Mapping[str, str] | None = None,
        scripts: Mapping[str, str] | None = None,
        requires_python: str | None = None,
        urls: Mapping[str, str] | None = None,
    ) -> Path:
        """Offer a version; the arguments are those of `build_wheel`."""
        return build_wheel(
            self.path,
            name,
            version,
            requires=requires,
            modules=modules,
            scripts=scripts,
            requires_python=requires_python,
            urls=urls,
        )

    def publish_backend(self) -> Path:
        """Offer the build backend `tinybuild`, which packaged projects name in `[build-system]`."""
        source = Path(tinybuild.__file__).read_text(encoding="utf-8")
        return self.publish(BACKEND, "1.0.0", modules={f"{BACKEND}.py": source})

    def withdraw(self, name: str, version: str) -> None:
        """Take a version back."""
        self._wheel(name, version).unlink()

    def _wheel(self, name: str, version: str) -> Path:
        module = tinybuild.Distribution(name=name, version=version).module
        return self.path / f"{module}-{version}-py3-none-any.whl"
