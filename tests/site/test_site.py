"""A site, put together from its files."""

import socket
from pathlib import Path

import pytest

from releaser.errors import PreflightError
from releaser.releases.retention_settings import RetentionSettings
from releaser.site.site import open_site

ENV = {"PATH": "/nowhere"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "site"
    root.mkdir()
    text = "[project]\nname = 'site'\n[tool.releaser]\nkeep = 3\nvenv = 'env'\n"
    (root / "pyproject.toml").write_text(text, encoding="utf-8")
    return root


def test_a_site_may_be_named_in_any_way(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root.parent / "link").symlink_to(root)
    monkeypatch.chdir(root.parent)
    monkeypatch.setenv("HOME", str(root.parent))
    for path in ("site", "./site/", "site/../site", "link", "~/site", str(root)):
        assert open_site(Path(path), ENV).project.root == root


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("gone", "does not exist"),
        ("dangling", "does not exist"),
        ("site/pyproject.toml/site", "does not exist"),
        ("site/pyproject.toml", "is not a directory"),
        ("loop", "cannot be accessed"),
        ("x" * 300, "cannot be accessed"),
        ("~nobody-of-this-name/site", "cannot be accessed"),
        ("caf\udce9", "the path is not UTF-8"),
    ],
)
def test_without_a_directory_there_is_no_site(
    root: Path, monkeypatch: pytest.MonkeyPatch, path: str, words: str
) -> None:
    monkeypatch.chdir(root.parent)
    (root.parent / "loop").symlink_to("loop")
    (root.parent / "dangling").symlink_to("nowhere")
    (root.parent / "caf\udce9").mkdir()
    with pytest.raises(PreflightError, match=words) as caught:
        open_site(Path(path), ENV)
    assert caught.value.exit_code == 3


def test_whatever_is_wrong_with_the_files_is_a_finding(root: Path) -> None:
    (root / "pyproject.toml").write_text("[project", encoding="utf-8")
    (root.parent / ".env").write_text("RELEASER_KEEP=many\n", encoding="utf-8")
    site = open_site(root, {**ENV, "RELEASER_KEP": "1"})
    assert len(site.findings) == 3
    assert "is not valid TOML" in site.findings[0].message
    assert site.pyproject.content == {}


def test_uv_is_found_or_said_to_be_missing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("uv.find_uv_bin", missing)
    with pytest.raises(PreflightError, match="uv was not found on PATH or next to releaser"):
        _ = open_site(root, ENV).uv
    with pytest.raises(PreflightError, match=r"uv was not found at /no/uv \(setting `uv`\)"):
        _ = open_site(root, {**ENV, "RELEASER_UV": "/no/uv"}).uv
    (root / "uv").touch()
    found = open_site(root, {**ENV, "RELEASER_UV": "./uv", "RELEASER_UV_TIMEOUT": "7s"}).uv
    assert (found.executable, found.timeout) == (root / "uv", 7)


def test_after_a_pull_the_settings_are_new_and_the_places_the_same(root: Path) -> None:
    site = open_site(root, ENV)
    site.runner.marks["MARK"] = "99"
    (root / "pyproject.toml").write_text("[tool.releaser]\nkeep = 7\nvenv = 'other'\nkep = 1\n", encoding="utf-8")
    fresh = site.reread()
    assert (RetentionSettings.of(fresh).keep, fresh.project, fresh.runner.marks) == (7, site.project, {"MARK": "99"})
    assert len(fresh.findings) == 1


def test_secrets_of_all_files_are_kept_out_of_what_is_shown(root: Path) -> None:
    (root / "pyproject.toml").write_text("[tool.uv]\nindex-url = 'https://a:one11@x.example'\n", encoding="utf-8")
    (root / "uv.toml").write_text("index-url = 'https://b:two22@x.example'\n", encoding="utf-8")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("url = https://c:three33@x.example\n", encoding="utf-8")
    (root.parent / ".env").write_text("RELEASER_SMTP_PASSWORD=four44\n", encoding="utf-8")
    clean = open_site(root, {**ENV, "UV_INDEX_X_PASSWORD": "five55"}).redactor.clean
    assert clean("one11 two22 three33 four44 five55 six66") == "*** *** *** *** *** six66"


def test_what_everybody_sees_anyway_is_no_secret_whatever_it_is_called(root: Path) -> None:
    (root / "uv.lock").write_text('version = 1\n[[package]]\nname = "argon2-cffi"\nversion = "1"\n', encoding="utf-8")
    part = root.parent.name
    lines = ["AUTH_TOKEN=argon2-cffi", f"X_KEY={part}", f"Y_KEY={socket.gethostname()}", "DB_PASSWORD=hunter-of-2"]
    (root.parent / ".env").write_text("\n".join([*lines, ""]), encoding="utf-8")
    assert open_site(root, ENV).redactor.secrets == {"hunter-of-2"}
