"""The site's tests; manage.py gives each the installed packages by name."""

from __future__ import annotations

TYPE_CHECKING = False  # typing takes long to import
if TYPE_CHECKING:
    from types import ModuleType


def test_packages(packages: dict[str, ModuleType]) -> None:
    """Fail when a package says that it breaks this site."""
    for name, module in packages.items():
        version = getattr(module, "__version__", "of unknown version")
        assert getattr(module, "BROKEN", None) != "test", f"{name} {version} breaks the site"
