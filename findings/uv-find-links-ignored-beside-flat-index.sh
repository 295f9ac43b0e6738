#!/usr/bin/env bash
# `uv lock --find-links DIR` finds no version in DIR if the project's own index is a flat one.
# Expected: the files of `--find-links` are candidates beside those of the index, as its help says, whatever the format
# of the index is.
# Seen with uv 0.13.9: beside an index with `format = "flat"` they are not looked at, without a word; beside the same
# files as a simple index they are. An index that is given by `--index` works in both cases. Output:
#   simple index: six 1.17.0
#   flat index: no solution
#   flat index, and another one by --index: six 1.17.0
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
export UV_CACHE_DIR="$place/cache" UV_PYTHON_DOWNLOADS=never UV_PYTHON="$place/tools/bin/python" HOME="$place"
uv="$place/tools/bin/uv"
"$uv" --version

fetch() { tools/bin/pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: "$1" --dest "$2"; }
fetch six==1.16.0 index/six
fetch six==1.17.0 more/six
for directory in index/six more/six; do
    (cd "$directory" && for file in *.whl; do echo "<a href=\"$file\">$file</a>"; done > index.html)
done
lock() { # NAME URL FORMAT ARGUMENT...: lock, and print the version of six
    local name="$1" url="$2" format="$3" found
    shift 3
    rm -f uv.lock
    cat > pyproject.toml <<END
[project]
name = "project"
version = "1.0"
requires-python = ">=3.9"
dependencies = ["six>=1.17"]
[[tool.uv.index]]
url = "$url"
format = "$format"
default = true
END
    if "$uv" lock --quiet "$@" 2> errors; then
        found="six $(grep -A1 '^name = "six"' uv.lock | sed -n 's/^version = "\(.*\)"/\1/p')"
    else
        grep -q "No solution found" errors
        found="no solution"
    fi
    echo "$name: $found"
}
found="$(lock "simple index" "file://$place/index" simple --find-links more/six)
$(lock "flat index" "file://$place/index/six" flat --find-links more/six)
$(lock "flat index, and another one by --index" "file://$place/index/six" flat --index "file://$place/more")"
echo "$found"
[[ "$found" == "simple index: six 1.17.0
flat index: no solution
flat index, and another one by --index: six 1.17.0" ]] || { echo "The behaviour has changed."; exit 1; }
