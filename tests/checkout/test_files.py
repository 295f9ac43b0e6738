"""Which files beside the code a rollback takes away."""

from pathlib import Path

import pytest

from releaser.checkout.files import included_of, place_included
from releaser.core.run import new_log
from releaser.releases.release import Release
from releaser.releases.store import store_of
from releaser.site.site import Site, open_site
from releaser.site.supply import Provenance
from tests.releases.makers import built


def from_bundle(site: Site, number: int, text: str, *, brought: tuple[str, ...]) -> Release:
    """Make the `number`th release, with a file beside the code, as a bundle brings one."""
    origin = Provenance(release=f"{number}", sequence=number, sha256="0", signer="", brought=brought)
    release = built(store_of(site), number, bundle=origin)
    included_of(release.directory).mkdir()
    (included_of(release.directory) / "c.ini").write_text(text, encoding="utf-8")
    return release


@pytest.mark.parametrize("is_edited", [True, False])
def test_a_file_goes_with_the_release_that_brought_it_whichever_came_after(tmp_path: Path, is_edited: bool) -> None:
    """The old code must not run with it, while what somebody has edited stays."""
    root = tmp_path / "site"
    root.mkdir()
    site, log, file = open_site(root, {"RELEASER_GIT": "false"}), new_log("rollback"), root / "c.ini"
    without = built(store_of(site), 1)
    for number, text, brought in ((2, "v1", ("c.ini",)), (3, "v2", ())):  # the second one finds it there
        place_included(site, log, from_bundle(site, number, text, brought=brought))
        assert file.read_text(encoding="utf-8") == text
    if is_edited:
        file.write_text("v2 of somebody", encoding="utf-8")
    place_included(site, log, without)
    assert file.exists() == is_edited
