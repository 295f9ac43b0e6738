"""The settings of single packages: when updates may take them, and whether they go live only after a review."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from releaser.locks.blocks import PackageWait
from releaser.site.declaring import Part
from releaser.site.values import Kind, by_package, either, package_patterns, pattern, refuse
from releaser.site.windows import DueSettings, Windows, find_opening, local_time, windows
from releaser.system.frozen import Frozen
from releaser.system.sections import Section
from releaser.system.words import show_time

if TYPE_CHECKING:
    from releaser.site.site import Site

Publish = Literal["live", "branch"]
_KEYS = ("window", "publish")
_SHAPE = 'must be tables by package, such as {"shop-*" = {window = "Mon-Fri"}}'
_ELSEWHERE = {"upgrade": "upgrade_packages", "min_age": "min_age_packages", "ignore": "ignore"}


class PackageSetting(Frozen):
    """The settings of the packages of a pattern; None if that of the site counts."""

    window: Windows | None = None
    publish: Publish | None = None


def read_tables(value: Any) -> tuple[tuple[str, PackageSetting], ...]:
    """A table for each package, with `window`, `publish` or both; in a variable, an inline table of TOML."""
    if isinstance(value, str):
        import tomli  # slow to import

        try:
            value = tomli.loads(f"packages = {value.strip() or '{}'}")["packages"]
        except tomli.TOMLDecodeError:
            refuse(_SHAPE)
    if not isinstance(value, dict):
        refuse(_SHAPE)
    found = list[tuple[str, PackageSetting]]()
    for name, table in value.items():
        (package,) = package_patterns([name]) or refuse("must be names of packages; '' is not one")
        if any(package == known for known, _ in found):
            refuse(f"must have one table for {package}, and {name} is another spelling of it")
        try:
            found.append((package, _read_one(table)))
        except ValueError as error:
            refuse(f"{error} (for {name})")
    return tuple(found)


def _read_one(table: Any) -> PackageSetting:
    if not isinstance(table, dict) or not table:
        refuse(_SHAPE)
    for key in table:
        if key not in _KEYS:
            instead = f"; write `{_ELSEWHERE[key]}` instead" if key in _ELSEWHERE else ""
            refuse(f"must have the keys window and publish, and not {key}{instead}")
    publish = table.get("publish")
    if publish not in (None, *get_args(Publish)):
        refuse("must have the word live or branch as publish")
    return PackageSetting(window=windows(table["window"]) if "window" in table else None, publish=publish)


def _spell(value: tuple[tuple[str, PackageSetting], ...]) -> dict[str, dict[str, Any]]:
    return {name: dict(_spell_one(one)) for name, one in value}


def _spell_one(one: PackageSetting) -> Iterator[tuple[str, Any]]:
    if one.window is not None:
        yield "window", windows.spell(one.window)
    if one.publish is not None:
        yield "publish", one.publish


def _in_line(spelled: dict[str, dict[str, Any]]) -> str:
    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return f"{{{', '.join(f'{quote(key)} = {inline(one)}' for key, one in value.items())}}}"
        return f"[{', '.join(map(quote, value))}]" if isinstance(value, list) else quote(value)

    def quote(text: str) -> str:
        return text if text in _KEYS else f'"{text}"'  # names and windows have neither quotes nor backslashes

    return inline(spelled)


_TABLE = {
    "type": "object",
    "properties": {"window": windows.schema, "publish": {"enum": [*get_args(Publish)]}},
    "additionalProperties": False,
    "minProperties": 1,
}
tables_by_package = Kind(
    read=read_tables,
    called="table by package",
    schema=either(by_package(_TABLE), pattern(r"^\s*(\{|$)")),
    spell=_spell,
    in_line=_in_line,
)
PackageTables = Annotated[tuple[tuple[str, PackageSetting], ...], tables_by_package]


class PackageSettings(Part):
    """The rules for single packages."""

    #: The rules for single packages: `window` replaces the site's maintenance window; with `publish` set to
    #: `branch`, they go live only after a review.
    packages: PackageTables = ()


class OpenPackages(Section):
    """The facts of an update outside the maintenance window of the site."""

    limits_update: ClassVar[bool] = True
    #: True if the run could only take packages whose own window was open.
    only_open_packages: bool = False


def find_waits(site: "Site", at: datetime, *, regardless: bool) -> tuple[PackageWait, ...]:
    """Return the packages that wait in an update that begins `at` a moment; empty if no package has its own settings.

    The last entry is for all other packages. `regardless` of windows, only those wait that need a review.
    """
    settings, own = PackageSettings.of(site).packages, DueSettings.of(site).window
    if not settings:
        return ()
    return tuple(
        _judge(name, one, own, at, regardless=regardless) for name, one in (*settings, ("*", PackageSetting()))
    )


def _judge(name: str, one: PackageSetting, own: Windows, at: datetime, *, regardless: bool) -> PackageWait:
    if one.publish == "branch":
        reason = "`publish` is `branch`, so it goes live after a review: `releaser propose` proposes it"
        return PackageWait(packages=name, reason=reason, by="publish")
    opens = find_opening(own if one.window is None else one.window, local_time(at)).astimezone(UTC)
    if regardless or opens <= at:
        return PackageWait(packages=name)
    which = "the maintenance window" if one.window is None else "the package's maintenance window"
    return PackageWait(packages=name, reason=f"{which} opens {show_time(opens)}", until=opens)


def find_open(site: "Site", at: datetime) -> tuple[str, ...]:
    """Return the patterns whose own window is open `at` a moment."""
    waits = find_waits(site, at, regardless=False)
    named = {name for name, one in PackageSettings.of(site).packages if one.window is not None}
    return tuple(wait.packages for wait in waits if wait.packages in named and not wait.reason)
