"""Print how large the project is: releaser by room, its documentation, its tests and scripts. Nothing is a limit.

Counted are the files that git tracks or would track.
"""

import io
import subprocess
import tokenize
from collections import Counter
from pathlib import Path, PurePath

HOUSE = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "docs", "findings")
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


def count_lines(text: str) -> int:
    """Return the number of lines."""
    return len(text.splitlines())


def read_texts() -> dict[PurePath, str]:
    """Return each text file of the project, by its path in it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=True).stdout
    contents = {PurePath(name): (HOUSE / name).read_bytes() for name in listed.split("\0") if (HOUSE / name).is_file()}
    return {path: content.decode() for path, content in contents.items() if b"\0" not in content}


def name_part(path: PurePath) -> str:
    """Return the part of a tree that a file belongs to: the directory at its top, else `(top)`."""
    return f"{path.parts[1]}/" if path.parts[2:] else "(top)"


def print_rooms(texts: dict[PurePath, str]) -> None:
    """Print modules, lines and tokens of releaser by room, the largest first, and the total."""
    modules, lines, tokens = Counter[str](), Counter[str](), Counter[str]()
    for path, text in texts.items():
        if path.parts[0] == "releaser" and path.suffix == ".py":
            room = name_part(path)
            modules[room] += 1
            lines[room] += count_lines(text)
            tokens[room] += count_tokens(text)
    print(f"{'releaser/':28} {'modules':>8} {'lines':>8} {'tokens':>8}")
    for room, number in tokens.most_common():
        print(f"{room:28} {modules[room]:8,} {lines[room]:8,} {number:8,}")
    print(f"{'total':28} {modules.total():8,} {lines.total():8,} {tokens.total():8,}")


def print_counts(title: str, unit: str, counts: Counter[str]) -> None:
    """Print a table of one column with its total."""
    print(f"\n{title:28} {unit:>8}")
    for name, number in counts.most_common():
        print(f"{name:28} {number:8,}")
    print(f"{'total':28} {counts.total():8,}")


def main() -> None:
    """Print the tables."""
    texts = read_texts()
    words, tests, scripts = Counter[str](), Counter[str](), Counter[str]()
    for path, text in texts.items():
        if path.parts[0] in PAGES and path.suffix == ".md":
            words[str(path)] += sum(any(map(str.isalnum, word)) for word in text.split())  # no bars of tables
        elif path.parts[0] == "tests":
            tests[name_part(path)] += count_lines(text)
        elif path.parts[0] == "scripts":
            scripts[path.name] += count_lines(text)
    print_rooms(texts)
    print_counts("documentation", "words", words)
    print_counts("tests/", "lines", tests)
    print_counts("scripts/", "lines", scripts)


if __name__ == "__main__":
    main()
