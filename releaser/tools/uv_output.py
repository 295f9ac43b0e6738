"""What uv prints when it cannot install: which packages it cannot build, and whose fault that is."""

from __future__ import annotations

import re

_FAILED_BUILD = re.compile(r"Failed to (?:download and )?build `([^`=\s]+)==([^`\s]+)`")  # as uv 0.13 says it
_NOTHING_TO_INSTALL = re.compile(r"Distribution `([^`=\s]+)==([^`\s@]+)[^`]*` can't be installed")
_TO_BUILD = re.compile(r"Distribution `([^`=\s]+)[^`]*` can't be installed because it is marked as `--no-build`")
# What uv says if it is the package's own build that fails, and not the network; a full disk may show as that, too.
_OWN_FAULT = "The build backend returned an error"
_NO_ROOM = "No space left"


def failed_builds(output: str) -> tuple[tuple[str, str], ...]:
    """Return the packages, each with its version, that uv says it cannot build, for whatever reason."""
    return tuple(dict.fromkeys(_FAILED_BUILD.findall(output)))


def unbuildable_packages(output: str) -> tuple[tuple[str, str], ...]:
    """Return the packages, each with its version, that uv could not build for a reason of their own."""
    return failed_builds(output) if backend_failed(output) else ()


def backend_failed(output: str) -> bool:
    """Whether it is the code that builds a package that fails."""
    return _OWN_FAULT in output and _NO_ROOM not in output


def uninstallable_packages(output: str) -> tuple[str, ...]:
    """Return the packages, each with its version, that uv says it can neither build nor find a wheel of."""
    found = (*failed_builds(output), *_NOTHING_TO_INSTALL.findall(output))
    return tuple(dict.fromkeys(f"{name} {version}" for name, version in found))


def packages_to_build(output: str) -> tuple[str, ...]:
    """Return the packages that uv says it cannot install without building them, as it was told to build none."""
    return tuple(dict.fromkeys(_TO_BUILD.findall(output)))
