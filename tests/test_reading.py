"""Every module reads files by what does not wait for a named pipe, and does not read a device without end."""

import ast
from pathlib import Path

import releaser

ROOT = Path(releaser.__file__).parent
READS = ("read_text", "read_bytes")
WRITES = set("wax+")
AT_ONCE = ("O_NONBLOCK", "O_DIRECTORY", "O_PATH", "O_WRONLY", "O_RDWR")  # a pipe is opened for both at once (fifo(7))
# What is read in another way, by module, and why nobody can have put a pipe there.
OWN = "in a directory that only the installer writes to, while a person waits"
EXCEPTIONS = {
    "launch.py: open(reading, 'rb')": "a pipe of its own",
    "launcher/install.py: open(os.path.join(tree, 'releaser', 'launcher', file), encoding='utf-8')": "a checkout",
    "launcher/__main__.py: open(file, encoding='utf-8')": "comes with releaser",
    "launcher/__main__.py: open(os.path.join(home, build.REQUIREMENTS), encoding='utf-8', errors='replace')": OWN,
    "launcher/install.py: open(os.path.join(home, 'build.py'), encoding='utf-8', errors='replace')": OWN,
    "launcher/build.py: open(path, 'rb')": OWN,
    "launcher/build.py: open(requirements, encoding='utf-8')": "the same",
    "launcher/build.py: open(os.path.join(home, REQUIREMENTS), encoding='utf-8')": "the same",
    "system/users.py: open(reading, 'rb')": "a pipe of its own",
    "system/files.py: os.open(path, os.O_RDONLY)": "a directory that releaser has just made, or a venv",
    "tools/s3_mirror.py: os.open(self.place, os.O_RDONLY)": "a directory, in which a file was made just before",
    "tools/source_archive.py: tarfile.open(fileobj=stream, mode='r|', tarinfo=_Member)": "bytes in memory",
    "pipelines/bootstrap.py: _TEMPLATE.read_text(encoding='utf-8')": "comes with releaser",
    "pipelines/bootstrap.py: _DOWNLOAD.read_text(encoding='utf-8')": "the same",
    "tools/starter_s3.py: open(f'{place}/{_NOTE}', encoding='utf-8')": "in a directory that only this user writes to",
}


def waits(call: ast.Call) -> bool:
    """Whether a call reads, or opens for reading, what may be a pipe; those of /proc are the kernel's."""
    called, text = call.func, ast.unparse(call)
    if "'/proc/" in text or any(one.arg == "opener" for one in call.keywords):
        return False
    if text.startswith("os.open("):
        return "O_" in text and not any(flag in text for flag in AT_ONCE)
    if isinstance(called, ast.Attribute) and called.attr in READS:
        return not text.startswith("files.")
    is_method = isinstance(called, ast.Attribute) and called.attr == "open"
    if not is_method and not (isinstance(called, ast.Name) and called.id == "open"):
        return False
    given = [*call.args[0 if is_method else 1 :], *(one.value for one in call.keywords if one.arg == "mode")]
    mode = given[0] if given else ast.Constant("r")
    return isinstance(mode, ast.Constant) and not WRITES & set(str(mode.value))


def found_in(module: Path) -> list[str]:
    calls = [one for one in ast.walk(ast.parse(module.read_text(encoding="utf-8"))) if isinstance(one, ast.Call)]
    return [f"{module.relative_to(ROOT)}: {ast.unparse(call)}" for call in calls if waits(call)]


def test_no_module_reads_what_it_might_wait_for() -> None:
    assert sorted({one for module in ROOT.rglob("*.py") for one in found_in(module)}) == sorted(EXCEPTIONS)
