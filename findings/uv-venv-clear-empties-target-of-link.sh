#!/usr/bin/env bash
# A new venv over a symlink `.venv` empties the directory that the link names; the link stays.
# Expected: the link is replaced by a directory, as `rm -rf .venv` would do it, or the program refuses beforehand.
# Seen with uv 0.13.9 and Python 3.11.7: `uv venv --clear`, and a `uv sync` that finds another version of Python in the
# venv, remove everything below the target, also what no package has brought, and build a venv there.
# `python3 -m venv --clear` removes it, too, and only then refuses the link with "Unable to create directory": it ends
# with 1, and leaves an empty directory. So a second link to the same release, or a running process, loses its packages.
# Output:
#   uv venv --clear: status 0, .venv is a link, target is a venv, the file is gone
#   uv sync: status 0, .venv is a link, target is a venv, the file is gone
#   python3 -m venv --clear: status 1, .venv is a link, target is empty, the file is gone
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
export UV_CACHE_DIR="$place/cache" UV_PYTHON_DOWNLOADS=never UV_PYTHON="$place/tools/bin/python" HOME="$place"
uv="$place/tools/bin/uv"
"$uv" --version
python3 --version

mkdir project
cd project
cat > pyproject.toml <<'END'
[project]
name = "project"
version = "1.0"
requires-python = ">=3.9"
END

prepare() { # make `.venv` a link to a venv elsewhere, with a file that is not of a package
    rm -rf "$place/release" .venv
    "$uv" venv --quiet "$place/release"
    echo mine > "$place/release/file"
    ln -s "$place/release" .venv
}
try() { # NAME COMMAND…: run it, and tell what is left
    local name=$1 status=0 link="not a link" target="something else" file=stays
    shift
    "$@" > "$place/log" 2>&1 || status=$?
    [[ -L .venv && "$(readlink .venv)" == "$place/release" ]] && link="a link"
    [[ -z "$(ls -A "$place/release")" ]] && target=empty
    [[ -x "$place/release/bin/python" ]] && target="a venv"
    [[ -e "$place/release/file" ]] || file="is gone"
    echo "$name: status $status, .venv is $link, target is $target, the file $file"
}

prepare
found="$(try "uv venv --clear" "$uv" venv --clear)"
prepare
# What a venv says after an upgrade of its Python: it was made by an older version.
sed -i 's/^version_info = .*/version_info = 3.9.0/' "$place/release/pyvenv.cfg"
found+=$'\n'"$(try "uv sync" "$uv" sync)"
prepare
found+=$'\n'"$(try "python3 -m venv --clear" python3 -m venv --clear .venv)"
echo "$found"
[[ "$found" == "uv venv --clear: status 0, .venv is a link, target is a venv, the file is gone
uv sync: status 0, .venv is a link, target is a venv, the file is gone
python3 -m venv --clear: status 1, .venv is a link, target is empty, the file is gone" ]] ||
    { echo "The behaviour has changed."; exit 1; }
