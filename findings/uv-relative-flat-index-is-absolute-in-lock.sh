#!/usr/bin/env bash
# A flat index that a project names by a relative path is looked for in the directory of the caller, not in that of the
# project, and its absolute path gets into uv.lock: a copy of the project elsewhere has a lock that does not fit.
# Expected: `url = "wheels"` in pyproject.toml is relative to that file, also with `--project`, as paths in
# `[tool.uv.sources]` are; and a project that is copied with its wheels has a lock that fits.
# Seen with uv 0.13.9:
#   from the project: locked
#   by --project from another directory: not found
#   by --directory from another directory: locked
#   absolute paths in the requirements of uv.lock: 1
#   uv lock --check in a copy: does not fit
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
export UV_CACHE_DIR="$place/cache" UV_PYTHON_DOWNLOADS=never UV_PYTHON="$place/tools/bin/python" HOME="$place"
uv="$place/tools/bin/uv"
"$uv" --version

mkdir project
tools/bin/pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: six==1.17.0 --dest project/wheels
cat > project/pyproject.toml <<END
[project]
name = "project"
version = "1.0"
requires-python = ">=3.9"
dependencies = ["six"]
[[tool.uv.index]]
name = "wheels"
url = "wheels"
format = "flat"
explicit = true
[tool.uv.sources]
six = { index = "wheels" }
END
lock() { # NAME DIRECTORY ARGUMENT...
    local name="$1" result="not found"
    cd "$2"
    shift 2
    rm -f "$place/project/uv.lock"
    if "$uv" lock --quiet "$@" 2> "$place/errors"; then
        result="locked"
    else
        grep -q "Failed to read" "$place/errors"
    fi
    echo "$name: $result"
    cd "$place"
}
found="$(
    lock "from the project" project
    lock "by --project from another directory" "$place" --project project
    lock "by --directory from another directory" "$place" --directory project
    echo "absolute paths in the requirements of uv.lock: $(grep 'requires-dist' project/uv.lock | grep -c "file://$place/project/wheels")"
    cp -r project copy
    "$uv" lock --quiet --check --directory copy 2> /dev/null && echo "uv lock --check in a copy: fits" ||
        echo "uv lock --check in a copy: does not fit"
)"
echo "$found"
[[ "$found" == "from the project: locked
by --project from another directory: not found
by --directory from another directory: locked
absolute paths in the requirements of uv.lock: 1
uv lock --check in a copy: does not fit" ]] || { echo "The behaviour has changed."; exit 1; }
