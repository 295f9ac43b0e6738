"""The release of `rebuild --tests-only` in the status."""

from releaser.core.status import Look, Pending, Remark, Shows, StatusSection


class TestedStatus(StatusSection):
    """A release that passed its tests, and goes live only if a person asks for it."""

    __test__ = False  # pytest would collect it
    #: The Python of the release that `rebuild --tests-only` made, and how to make it live; empty without one.
    tested: str = ""

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        snapshot = at.store.snapshot()
        release = snapshot.find_requestable()
        if release is None:
            return cls()
        known = snapshot.lifecycles[release.id]
        is_current = at.live is not None and at.live.id == release.manifest.previous
        again = "" if is_current else ", which builds and tests again, as the site has changed since then"
        how = f"To make it live, run `{known.request}`{again}."
        return cls(tested=f"{known.waits} ({release.id}, {known.since[:10]}). {how}")

    def show(self) -> Shows:
        if self.tested:
            yield Remark(self.tested, 64)
            yield Pending("a tested release that waits for `releaser rebuild`", 30)
