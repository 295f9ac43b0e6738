#!/usr/bin/env bash
# `uv sync` and `uv sync --check` call a venv up to date although files of a package are gone.
# Expected: `--check` finds that a venv is not what the lock says; at least, `uv sync` does not break it by itself.
# Seen with uv 0.13.9: it compares the names and versions of the `.dist-info` directories, and no file. Two packages of the
# lock have the same file, as some pairs of a full and a headless edition do; when one leaves the lock, `uv sync` deletes
# the file, and the other package cannot be imported. From then on `uv sync`, `uv sync --check` and `uv pip check` end
# with 0, as after the removal of a package's directory by hand. `uv sync --reinstall-package` helps. Output:
#   both packages: import works
#   after uv sync: import fails; sync 0, sync --check 0, pip check 0, import fails
#   after --reinstall-package: import works
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
export UV_CACHE_DIR="$place/cache" UV_PYTHON_DOWNLOADS=never UV_PYTHON="$place/tools/bin/python" HOME="$place"
uv="$place/tools/bin/uv"
"$uv" --version

cat > make.py <<'END'
import sys
import zipfile

for name in ("full", "headless"):
    info = f"{name}-1.0.dist-info"
    files = {
        "vision/__init__.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
END
mkdir wheels project
(cd wheels && python3 ../make.py)
cd project
set_dependencies() { # LIST
    cat > pyproject.toml <<END
[project]
name = "project"
version = "1.0"
requires-python = ">=3.9"
dependencies = [$1]
[tool.uv]
no-index = true
find-links = ["../wheels"]
END
}
try_import() { .venv/bin/python -c 'import vision; vision.__file__.strip()' 2> /dev/null && echo works || echo fails; }

set_dependencies '"full", "headless"'
"$uv" sync --quiet
both="$(try_import)"
set_dependencies '"headless"'
"$uv" sync --quiet
first="$(try_import)" sync=0 check=0 pip_check=0
"$uv" sync --quiet || sync=$?
"$uv" sync --quiet --check || check=$?
"$uv" pip check --quiet || pip_check=$?
second="$(try_import)"
"$uv" sync --quiet --reinstall-package headless
found="both packages: import $both
after uv sync: import $first; sync $sync, sync --check $check, pip check $pip_check, import $second
after --reinstall-package: import $(try_import)"
echo "$found"
[[ "$found" == "both packages: import works
after uv sync: import fails; sync 0, sync --check 0, pip check 0, import fails
after --reinstall-package: import works" ]] || { echo "The behaviour has changed."; exit 1; }
