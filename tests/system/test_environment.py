"""What programs find in their environment."""

from pathlib import Path

from releaser.system.environment import nearest_settings_of_uv, package_places

PLACES = """
[tool.uv]
find-links = ["/tmp/wheels", "../wheels", "https://wheels.example.org/"]
index-url = "file:///srv/simple"
[[tool.uv.index]]
url = "file:///tmp/a%20b"
[[tool.uv.index]]
url = "https://pypi.example.org/simple"
[tool.uv.sources]
tool = { path = "/tmp/tool" }
one = [{ path = "../one", marker = "python_version > '3'" }, { git = "https://git.example.org/one" }]
"""


def test_what_uv_takes_from_this_host_is_found_wherever_it_is_named(tmp_path: Path) -> None:
    tree, home = tmp_path / "outer" / "site", tmp_path / "home"
    (home / ".config" / "uv").mkdir(parents=True)
    tree.mkdir(parents=True)
    (tree / "pyproject.toml").write_text(PLACES, encoding="utf-8")
    (home / ".config" / "uv" / "uv.toml").write_text('extra-index-url = ["/srv/own"]\nsources = 1\n', encoding="utf-8")
    (tree.parent / "uv.toml").write_text('find-links = "no list"\nindex = [1, {}]\n', encoding="utf-8")
    found = package_places(tree, {"HOME": str(home), "XDG_CONFIG_DIRS": str(tmp_path)})
    named = ("/tmp/wheels", "../wheels", "/srv/simple", "/tmp/a b", "/tmp/tool", "../one", "no list", "/srv/own")
    assert found == tuple(tree / one for one in named)


def test_settings_that_are_nested_too_deep_are_skipped_as_unreadable_ones(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text("a = " + "[" * 9999)
    (tmp_path / "pyproject.toml").write_text("[tool.uv]\noffline = true\n")
    assert nearest_settings_of_uv(tmp_path) == (tmp_path, {"offline": True})
