"""A bundle on the disk of the host that installs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from releaser.bundles.manifest import CODE, CODE_FILES, INCLUDED, LOCK, WHEELS
from releaser.bundles.wheels import pin_of
from releaser.system.files import read_file
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.bundles.manifest import BundleManifest

_ELSEWHERE = ("registry", "url", "path", "git")  # sources of packages in a uv.lock that are not the project's own


class UnpackedBundle(Frozen):
    """The files of a bundle that was verified, below `place`."""

    place: Path
    manifest: BundleManifest
    #: Who has signed it; empty if nobody was asked for.
    signer: str
    #: Whether the tests of the project are run here as well.
    runs_tests: bool = True

    @property
    def lock(self) -> bytes:
        """The lock that was tested."""
        return read_file(self.place / LOCK)

    @property
    def included(self) -> Path:
        """The files beside the code; it may not be there."""
        return self.place / INCLUDED.rstrip("/")

    @property
    def code(self) -> Path | None:
        """The bundle of git that has the commit; None if the project is not under git."""
        return self.place / CODE if self.manifest.find(CODE) is not None else None

    @property
    def code_files(self) -> Path | None:
        """The files of the code; None if the project is under git."""
        return self.place / CODE_FILES if self.manifest.find(CODE_FILES) is not None else None

    @property
    def variables(self) -> dict[str, str]:
        """What keeps uv from any index and from the network: it installs and builds from the wheels alone.

        Of its settings it goes by none: indexes and directories would be added to ours. Groups, sources and the like of
        a project are no settings to uv.
        """
        return {"UV_NO_CONFIG": "1", "UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(self.place / WHEELS)}

    def offline_lock(self, lock: bytes) -> bytes:
        """Return a lock of the same versions, each from its wheel in this bundle, with the hash of that.

        uv installs from it as from any other. Nothing but an installation is to see it.
        """
        import tomllib

        import tomlkit
        from packaging.utils import parse_wheel_filename

        content = tomllib.loads(lock.decode())
        wheels: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for one in self.manifest.below(WHEELS):
            name, version, *_ = parse_wheel_filename(one.path.removeprefix(WHEELS))
            entry = {"path": one.path.removeprefix(WHEELS), "hash": f"sha256:{one.sha256}", "size": one.size}
            wheels.setdefault((name, str(version)), []).append(entry)
        here = {"registry": str(self.place / WHEELS.rstrip("/"))}
        for package in content.get("package", ()):
            if any(kind in package.get("source", {}) for kind in _ELSEWHERE):
                package["source"] = here
                package.pop("sdist", None)
                package["wheels"] = wheels.get(pin_of(package), [])
            for needed in _needed(package):
                if any(kind in needed.get("source", {}) for kind in _ELSEWHERE):
                    needed["source"] = here
        return tomlkit.dumps(json.loads(json.dumps(content, default=str))).encode()


def _needed(package: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = (package.get("optional-dependencies", {}), package.get("dev-dependencies", {}))
    return [*package.get("dependencies", ()), *(one for kind in kinds for found in kind.values() for one in found)]
