"""Count the project against its limits; exit 1 if a figure is over. It counts files that git tracks or would track."""

import io
import subprocess
import sys
import tokenize
from collections.abc import Callable
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1]
TREES = ("releaser/", "tests/", "tests/faults/", "tests/support/", "scripts/")
LIMITS = {
    "tokens of releaser/, no comments and docstrings": 71_000,
    "modules of releaser/": 90,
    "words of docs/ and README": 9_000,
} | {f"lines of {tree}": limit for tree, limit in zip(TREES, (9_500, 9_000, 2_300, 1_300, 1_300), strict=True)}
LAYOUT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
    tokenize.ENCODING,
}  # fmt: skip


def count_tokens(text: str) -> int:
    """Return the number of tokens without comments, docstrings and layout: packing and splitting lines change nothing.

    A docstring is a string that begins a logical line.
    """
    count, before = 0, tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        begins_line = before in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
        count += token.type not in LAYOUT and not (token.type == tokenize.STRING and begins_line)
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            before = token.type
    return count


def tracked_texts() -> dict[str, str]:
    """Return each text file of the project, by its path in it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=True).stdout
    contents = {name: (HOUSE / name).read_bytes() for name in listed.split("\0") if (HOUSE / name).is_file()}
    return {name: content.decode() for name, content in contents.items() if b"\0" not in content}


def measure(texts: dict[str, str]) -> list[int]:
    """Return the figures, in the order of LIMITS."""

    def add(top: str, suffix: str, figure: Callable[[str], int]) -> int:
        return sum(figure(text) for name, text in texts.items() if name.startswith(top) and name.endswith(suffix))

    lines = [add(top, "", lambda text: len(text.splitlines())) for top in TREES]
    words = sum(add(top, ".md", lambda text: len(text.split())) for top in ("docs/", "README"))
    return [add("releaser/", ".py", count_tokens), add("releaser/", ".py", lambda _: 1), words, *lines]


def main() -> int:
    """Print the table."""
    over = 0
    for (title, limit), figure in zip(LIMITS.items(), measure(tracked_texts()), strict=True):
        over += figure > limit
        print(f"{title:50} {figure:7,} of {limit:7,}{'  OVER' if figure > limit else ''}")
    return min(over, 1)


if __name__ == "__main__":
    sys.exit(main())
