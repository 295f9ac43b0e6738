#!/usr/bin/env bash
# `uv add -r requirements.txt` takes the last of several lines for a package, and leaves the others out without a word.
# Expected: the lines hold together, as for `pip install -r` and `uv pip install -r`: all go into `pyproject.toml`.
# Seen with uv 0.13.9: of `idna==3.6` and `idna>=3.2`, the second is written, and a newer version installed, while
# `uv pip install -r` installs 3.6. The same goes for files that are joined by `-r`, if both lines have an operator: a
# pin in the base file is lost to a wider range in the file that includes it. The status is 0. Output:
#   one file: uv pip 3.6; uv add writes idna>=3.2, newer than 3.6
#   two files: uv pip 3.6; uv add writes idna>=3.2, newer than 3.6
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
export UV_CACHE_DIR="$place/cache" UV_PYTHON_DOWNLOADS=never UV_PYTHON="$place/tools/bin/python" HOME="$place"
uv="$place/tools/bin/uv"
"$uv" --version

printf 'idna==3.6\nidna>=3.2\n' > one.txt
printf 'idna==3.6\n' > base.txt
printf -- '-r base.txt\nidna>=3.2\n' > two.txt

installed() { # VENV: print the version of idna
    "$1/bin/python" -c 'from importlib.metadata import version; print(version("idna"))'
}
try() { # FILE: print what the two commands make of it
    rm -rf project venv
    mkdir project
    cat > project/pyproject.toml <<'END'
[project]
name = "project"
version = "1.0"
requires-python = ">=3.9"
dependencies = []
END
    "$uv" venv --quiet venv
    "$uv" pip install --quiet --python venv -r "$1"
    "$uv" add --quiet --project project -r "$1"
    local version comparison="that is 3.6"
    version="$(installed project/.venv)"
    [[ "$version" == 3.6 ]] || comparison="newer than 3.6"
    echo "uv pip $(installed venv); uv add writes $(grep -o 'idna[^"]*' project/pyproject.toml | paste -sd ,), $comparison"
}

found="one file: $(try one.txt)
two files: $(try two.txt)"
echo "$found"
[[ "$found" == "one file: uv pip 3.6; uv add writes idna>=3.2, newer than 3.6
two files: uv pip 3.6; uv add writes idna>=3.2, newer than 3.6" ]] || { echo "The behaviour has changed."; exit 1; }
