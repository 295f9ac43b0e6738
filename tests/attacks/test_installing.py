"""Following the installation page installs exactly the files that releaser is tested with."""

import re
from pathlib import Path

import pytest

from releaser.launcher import install

ROOT = Path(__file__).parents[2]
PINNED = sorted({*ROOT.glob("constraints*.txt"), *ROOT.glob("requirements-*.txt")})
_COMMAND = re.compile(r"^ *\S*\bpip install .*$|^ *(?:pipx|uv tool) install .*$", re.MULTILINE)
_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/guides/install.md"])
def test_the_pages_install_only_wheels_with_hashes(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert [line for block in blocks for line in _COMMAND.findall(block)] == []
    assert any("python3 -m releaser.launcher" in block for block in blocks)
    commands = list[str]()
    monkeypatch.setattr(install, "run", lambda words: commands.append(" ".join(words)))
    install.download(["pip"], "", str(tmp_path), ["3.11", "3.13"], ["linux_x86_64"])
    assert len(commands) == 2
    assert all("--no-deps --only-binary :all: --require-hashes" in command for command in commands)


@pytest.mark.parametrize("file", PINNED, ids=lambda file: file.name)
def test_each_package_has_a_version_and_hashes_and_no_index_is_named(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    packages = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    assert packages
    assert "://" not in text
    for line in packages:
        assert re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line
