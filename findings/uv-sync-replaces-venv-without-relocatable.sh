#!/usr/bin/env bash
# After an upgrade of Python in place, `uv sync` replaces a venv, and the new one is not relocatable any more.
# Expected: the venv is kept, since its interpreter has the same path and minor version; or it is made anew as it was.
# Seen with uv 0.13.9: the version in `pyvenv.cfg` differs from that of the interpreter, as after an update of Python to
# the next patch version at the same path; so `uv sync` and `uv run` remove the venv and make another, also if UV_PYTHON
# names the interpreter of that very venv. `relocatable = true` is lost, and so are packages that are not in the lock, in
# spite of `--inexact`. `uv sync --check` calls the venv outdated, as if a package were missing. The script plays the
# update: it changes the version in `pyvenv.cfg`. Output:
#   before: relocatable, console script finds Python relative to itself, extra package there
#   check: status 1; sync: status 0
#   after: not relocatable, console script names Python by its path, extra package gone
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
dependencies = ["sqlparse==0.5.3"]
END
describe() {
    local relocatable="not relocatable" script="names Python by its path" extra=gone
    grep -q '^relocatable = true' .venv/pyvenv.cfg && relocatable=relocatable
    grep -q realpath .venv/bin/sqlformat && script="finds Python relative to itself"
    .venv/bin/python -c 'import six' 2> /dev/null && extra=there
    echo "$relocatable, console script $script, extra package $extra"
}

"$uv" venv --quiet --relocatable
"$uv" sync --quiet
"$uv" pip install --quiet --python .venv six==1.17.0
"$uv" sync --quiet --inexact # leaves the venv as it is
before="$(describe)"
sed -i 's/^version_info = .*/version_info = 3.9.0/' .venv/pyvenv.cfg
check=0 sync=0
"$uv" sync --quiet --inexact --check 2> /dev/null || check=$?
"$uv" sync --quiet --inexact || sync=$?
after="$(describe)"
found="before: $before
check: status $check; sync: status $sync
after: $after"
echo "$found"
[[ "$found" == "before: relocatable, console script finds Python relative to itself, extra package there
check: status 1; sync: status 0
after: not relocatable, console script names Python by its path, extra package gone" ]] ||
    { echo "The behaviour has changed."; exit 1; }
