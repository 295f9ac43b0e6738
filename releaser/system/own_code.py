"""Loads the code of releaser that a run may need later, before anything changes: an upgrade may replace the files."""

from __future__ import annotations

import os
from functools import cache

import releaser
from releaser.errors import refuse
from releaser.system.files import read_file

# Those of a capability that are not in these packages are imported by modules that are.
_PACKAGES = (
    "actions", "candidate", "checkout", "core", "gates", "locks", "releases", "reporting", "resolution",
    "serving", "site", "sources", "system", "tools"
)  # fmt: skip
# Modules of other projects that are imported only when needed.
_OTHERS = ("dotenv.parser", "packaging.requirements", "packaging.tags", "tomlkit")
# Other interpreters get these as text; templates take less memory as text than compiled.
_TEXTS = (
    "releases/startup/_releaser_pin.py", "reporting/templates/run.html.j2", "reporting/templates/run.txt.j2",
    "serving/restarts/load_application.py", "tools/django_probe.py", "tools/notice_sender.py",
)  # fmt: skip
# These run in separate processes.
_APART = (
    "releaser.tools.attestation_probe",
    "releaser.tools.starter",
    "releaser.tools.starter_s3",
    "releaser.releases.startup._releaser_pin",
)
_TERMINAL = "releaser.reporting.terminal"


@cache
def text_of(file: str) -> str:
    """Return the text of a file of releaser, as it was at the first call."""
    return read_file(file).decode()


def is_replaced() -> bool:
    """True if another version of releaser is in the place of this one."""
    return f'"{releaser.__version__}"' not in read_file(releaser.__file__).decode()


def load_all() -> None:
    """Import all modules that an update may need. Raises PreflightError if releaser was replaced meanwhile."""
    import importlib  # quick runs need neither
    import pkgutil

    apart = _APART if os.isatty(2) else (*_APART, _TERMINAL)
    for name in _PACKAGES:
        package = importlib.import_module(f"releaser.{name}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name not in apart:
                importlib.import_module(found.name)
    for name in _OTHERS:
        importlib.import_module(name)
    for name in _TEXTS:
        text_of(os.path.join(os.path.dirname(releaser.__file__), name))
    # After the imports, because an upgrade may have replaced files before or during them.
    if is_replaced():
        refuse(
            "releaser-replaced", "releaser was upgraded during this run", "Run the command again: nothing was changed."
        )
