"""Which files beside the code are written, and which a rollback takes away."""

from dataclasses import replace
from pathlib import Path

import pytest

from releaser.checkout.files import export_lock, included_of, place_included
from releaser.core.run import new_log
from releaser.errors import FollowUpError
from releaser.releases.release import Release
from releaser.releases.store import store_of
from releaser.site.site import Site, open_site
from releaser.site.supply import Provenance
from tests.releases.makers import built
from tests.site.fakes import FakeRunner


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


def test_without_git_an_export_that_somebody_wrote_or_edited_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "site"
    root.mkdir()
    for name, text in {"pyproject.toml": "[project]\n", "uv.lock": "version = 1\n"}.items():
        (root / name).write_text(text, encoding="utf-8")
    site = open_site(root, {"RELEASER_GIT": "false", "RELEASER_REQUIREMENTS_EXPORT": "requirements.txt"})
    site.state_dir.mkdir(parents=True)
    file = root / "requirements.txt"

    def export(text: str) -> str:
        runner = FakeRunner(environ=site.runner.environ, answers={"uv export": text})
        with new_log("update").step("export") as step:
            export_lock(replace(site, runner=runner), step)
        return file.read_text(encoding="utf-8")

    file.write_text("# by hand\n", encoding="utf-8")
    with pytest.raises(FollowUpError, match="was not exported by releaser, or was edited since"):
        export("alpha==1\n")
    file.unlink()
    for text in ("alpha==1\n", "alpha==2\n"):
        assert export(text) == text
    file.write_text("alpha==2\n# by hand\n", encoding="utf-8")
    with pytest.raises(FollowUpError, match="was not exported by releaser, or was edited since"):
        export("alpha==3\n")
    assert file.read_text(encoding="utf-8") == "alpha==2\n# by hand\n"
