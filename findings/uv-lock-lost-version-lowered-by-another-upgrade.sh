#!/usr/bin/env bash
# `uv lock --upgrade-package NAME` lowers another locked package whose version its index does not list any more.
# Expected: a package that is not named stays as the lock has it, as it does in a plain `uv lock`, or uv says why not.
# Seen with uv 0.13.9: a plain `uv lock` accepts the lock. An upgrade of another package resolves again, and takes an
# older version of the lost one, with the status 0 and a line among others. `NAME==VERSION` for the lost one has no
# solution. So a version that is deleted from an index comes back down with whatever is upgraded next. Output:
#   before: idna 3.6, six 1.17.0
#   lost, a plain lock: idna 3.6, six 1.17.0
#   lost, idna upgraded: idna 3.7, six 1.16.0
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
export UV_CACHE_DIR="$place/cache" UV_PYTHON_DOWNLOADS=never UV_PYTHON="$place/tools/bin/python" HOME="$place"
uv="$place/tools/bin/uv"
"$uv" --version

for wanted in idna==3.6 idna==3.7 six==1.16.0 six==1.17.0; do
    tools/bin/pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: "$wanted" \
        --dest "index/${wanted%%==*}"
done
list() { # write the page of each package
    for name in idna six; do
        (cd "index/$name" && for file in *.whl; do echo "<a href=\"$file\">$file</a>"; done > index.html)
    done
    rm -rf "$UV_CACHE_DIR"
}
cat > pyproject.toml <<END
[project]
name = "project"
version = "1.0"
requires-python = ">=3.9"
dependencies = ["idna", "six"]
[[tool.uv.index]]
url = "file://$place/index"
default = true
END
show() { # NAME: print the versions in the lock
    local version='s/^version = "\(.*\)"/\1/p'
    echo "$1: idna $(grep -A1 '^name = "idna"' uv.lock | sed -n "$version"), six $(
        grep -A1 '^name = "six"' uv.lock | sed -n "$version")"
}
list
"$uv" lock --quiet --upgrade-package idna==3.6
found="$(show before)"
rm index/six/six-1.17.0-*.whl
list
"$uv" lock --quiet
found+=$'\n'"$(show "lost, a plain lock")"
"$uv" lock --quiet --upgrade-package idna
found+=$'\n'"$(show "lost, idna upgraded")"
echo "$found"
[[ "$found" == "before: idna 3.6, six 1.17.0
lost, a plain lock: idna 3.6, six 1.17.0
lost, idna upgraded: idna 3.7, six 1.16.0" ]] || { echo "The behaviour has changed."; exit 1; }
