"""Where editable packages lead: from the staging tree into the checkout, by the texts in their RECORD."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

from releaser.releases.metadata import leads_into, repoint_editables, sources_below

if TYPE_CHECKING:
    from pathlib import Path


def _installed(tmp_path: Path, source: Path, files: dict[str, bytes]) -> Path:
    """Make a venv with a package that was installed from `source`."""
    packages = tmp_path / "venv" / "lib" / "python3.12" / "site-packages"
    info = packages / "shop-1.0.dist-info"
    info.mkdir(parents=True)
    url = json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}).encode()
    for name, data in {**files, "shop-1.0.dist-info/direct_url.json": url}.items():
        (packages / name).write_bytes(data)
    names = [*files, "shop-1.0.dist-info/direct_url.json", "shop-1.0.dist-info/RECORD"]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in names), encoding="utf-8")
    return packages


def test_paths_in_texts_are_replaced_and_recorded(tmp_path: Path) -> None:
    old, new = tmp_path / ".shop.releaser-staging", tmp_path / "meine Läden" / "shop"
    packages = _installed(tmp_path, old / "app", {"shop.pth": f"{old}/app/src\n".encode(), "other.pth": b"/srv\n"})
    repoint_editables(tmp_path / "venv", old, new)
    text = (packages / "shop.pth").read_bytes()
    assert text.decode() == f"{new}/app/src\n"
    digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
    record = (packages / "shop-1.0.dist-info" / "RECORD").read_text(encoding="utf-8").splitlines()
    assert f"shop.pth,sha256={digest},{len(text)}" in record
    assert "other.pth,," in record
    said = json.loads((packages / "shop-1.0.dist-info" / "direct_url.json").read_text(encoding="utf-8"))
    assert said == {"url": (new / "app").as_uri(), "dir_info": {"editable": True}}


def test_compiled_files_and_longer_names_stay_as_they_are(tmp_path: Path) -> None:
    old, new = tmp_path / "staging", tmp_path / "shop"
    compiled, longer = f"\0ELF {old}/src/x.c\0".encode(), f"{old}-2/src\n".encode()
    packages = _installed(tmp_path, old, {"x.so": compiled, "shop.pth": longer})
    repoint_editables(tmp_path / "venv", old, new)
    assert (packages / "x.so").read_bytes() == compiled
    assert (packages / "shop.pth").read_bytes() == longer


def test_packages_from_elsewhere_are_not_touched(tmp_path: Path) -> None:
    text = f"{tmp_path}/staging/src\n".encode()
    packages = _installed(tmp_path, tmp_path / "library", {"shop.pth": text})
    repoint_editables(tmp_path / "venv", tmp_path / "staging", tmp_path / "shop")
    assert (packages / "shop.pth").read_bytes() == text


def test_a_venv_leads_into_the_places_of_its_editable_packages(tmp_path: Path) -> None:
    _installed(tmp_path, tmp_path / "shop" / "app", {})
    assert leads_into(tmp_path / "venv", tmp_path / "shop")
    assert not leads_into(tmp_path / "venv", tmp_path / "other")


def test_the_places_that_are_searched_for_modules_are_known(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    _installed(tmp_path, shop, {"a.pth": f"{shop}/b/src\nimport sys\n".encode(), "b.pth": f"{shop}\n/srv\n".encode()})
    assert [str(one) for one in sources_below(tmp_path / "venv", shop)] == [".", "b/src"]
