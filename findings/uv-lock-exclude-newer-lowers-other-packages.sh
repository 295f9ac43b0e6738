#!/usr/bin/env bash
# `uv lock --upgrade-package NAME --exclude-newer DATE` lowers another package that nobody asked to change.
# Expected: packages that are not named keep the versions of the lock, as they do without the date; the date limits
# what NAME may become.
# Seen with uv 0.13.9: a locked package that is younger than the date is lowered, with the status 0 and a line among
# others. It stays with `--exclude-newer-package OTHER=false`, but then the date stands in the lock, and the next plain
# `uv lock` resolves again to take it out. So an age that is asked for by a call needs one more call. Output:
#   before: idna 3.7, six 1.17.0
#   idna with a date: idna 3.7, six 1.16.0, and a date in the lock
#   six let through: idna 3.7, six 1.17.0, and a date in the lock
#   a plain lock: idna 3.7, six 1.17.0
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
export UV_CACHE_DIR="$place/cache" UV_PYTHON_DOWNLOADS=never UV_PYTHON="$place/tools/bin/python" HOME="$place"
uv="$place/tools/bin/uv"
"$uv" --version

cat > pyproject.toml <<'END'
[project]
name = "project"
version = "1.0"
requires-python = ">=3.9"
dependencies = ["idna", "six"]
END

show() { # NAME: print the versions in the lock, and whether it names a date
    local version='s/^version = "\(.*\)"/\1/p' date=""
    ! grep -q '^exclude-newer = ' uv.lock || date=", and a date in the lock"
    echo "$1: idna $(grep -A1 '^name = "idna"' uv.lock | sed -n "$version"), six $(
        grep -A1 '^name = "six"' uv.lock | sed -n "$version")$date"
}
date=2024-06-01T00:00:00Z # idna 3.7 is older, six 1.17.0 is younger
"$uv" lock --quiet --upgrade-package idna==3.7 --upgrade-package six==1.17.0
found="$(show before)"
cp uv.lock before.lock
"$uv" lock --quiet --upgrade-package idna --exclude-newer "$date"
found+=$'\n'"$(show "idna with a date")"
cp before.lock uv.lock
"$uv" lock --quiet --upgrade-package idna --exclude-newer "$date" --exclude-newer-package six=false
found+=$'\n'"$(show "six let through")"
"$uv" lock --quiet
found+=$'\n'"$(show "a plain lock")"
echo "$found"
[[ "$found" == "before: idna 3.7, six 1.17.0
idna with a date: idna 3.7, six 1.16.0, and a date in the lock
six let through: idna 3.7, six 1.17.0, and a date in the lock
a plain lock: idna 3.7, six 1.17.0" ]] || { echo "The behaviour has changed."; exit 1; }
