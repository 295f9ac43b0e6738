"""A capability in one file that adds to the status: a note on the door of the site.

The test copies it into the package, and adds it to the list of capabilities.
"""

from typing import Self

from releaser.core.status import Alarm, Figure, Look, Pending, Remark, Shows, StatusSection


class NoteStatus(StatusSection):
    """The note on the door."""

    #: The text of the note; empty without one.
    note: str = ""

    @classmethod
    def look(cls, at: Look) -> Self:
        door = at.site.project.outer / "note"
        return cls(note=door.read_text(encoding="utf-8") if door.exists() else "")

    def show(self) -> Shows:
        if self.note:
            yield Remark(f"the note on the door: {self.note}", 5)
            yield Pending("a note")
            yield Alarm(text="read the note on the door", command="status")
        yield Figure("notes", "Notes on the door", int(bool(self.note)), label="notes")
