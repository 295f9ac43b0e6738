"""The sections that capabilities add to the report of a run, and to the manifest of a release."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class HasSections(Protocol):
    """A report, or the log of a run in progress."""

    @property
    def sections(self) -> Mapping[type[Section], Section]: ...


class Section(Frozen):
    """The facts of one capability about a run. In JSON, its fields are keys of the report; each has a default."""

    #: True if these facts limit an update, for example to its tests: the interval of full updates does not count it.
    limits_update: ClassVar[bool] = False

    @classmethod
    def of(cls, report: HasSections) -> Self:
        """Return the section of a report; one of defaults if the report has none."""
        found = report.sections.get(cls)
        return found if isinstance(found, cls) else cls()

    def at_end(self, *, live_changed: bool, clean: Callable[[str], str]) -> Section:  # noqa: ARG002 - for others
        """Return the section for the report. `clean` makes one line of a text, without secrets."""
        return self

    def in_headline(self) -> str:
        """Return what belongs in the headline of an update, beginning with a comma; usually nothing."""
        return ""


class Facts(Frozen):
    """The facts of one capability about a release. They are fields of its manifest; each has a default."""

    @classmethod
    def of(cls, manifest: object) -> Self:
        """Return the facts in a manifest; defaults without a manifest, or if the manifest has none."""
        return manifest if isinstance(manifest, cls) else cls()
