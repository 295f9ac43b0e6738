#!/usr/bin/env bash
# `uv tree --outdated --frozen` looks for newer versions with the `exclude-newer` of uv.lock, in spite of its options.
# Expected: `--exclude-newer DATE` and `--exclude-newer-package NAME=false` are options of `uv tree`, and let it name
# the newest version, as they let `uv pip compile`.
# Seen with uv 0.13.9: they are taken without a word, and change nothing: a package whose newer versions are kept back
# by the date is called up to date. Output:
#   tree of a lock without a date: six 1.16.0, and a newer one
#   tree: six 1.16.0
#   tree with a later date: six 1.16.0
#   tree without a date for six: six 1.16.0
#   compile: six 1.16.0
#   compile without a date for six: a newer one
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
dependencies = ["six"]

END
echo six > six.in

tree() { # OPTION…: print the package, and the newer version that is named
    "$uv" tree --outdated --frozen --depth 1 "$@" 2>/dev/null |
        sed -n 's/.* \(six\) v\([0-9.]*\).*latest.*/\1 \2, and a newer one/p; s/.* \(six\) v\([0-9.]*\)$/\1 \2/p'
}
compile() { # OPTION…: print the chosen version
    "$uv" pip compile six.in --quiet --no-header --no-annotate "$@" |
        sed 's/==/ /; s/six 1\.\(1[7-9]\|[2-9][0-9]\).*/a newer one/'
}
"$uv" lock --quiet --upgrade-package six==1.16.0
found="tree of a lock without a date: $(tree)"
printf '[tool.uv]\nexclude-newer = "2024-01-01T00:00:00Z"\n' >> pyproject.toml
"$uv" lock --quiet
found+="
tree: $(tree)
tree with a later date: $(tree --exclude-newer 2026-01-01T00:00:00Z)
tree without a date for six: $(tree --exclude-newer-package six=false)
compile: $(compile)
compile without a date for six: $(compile --exclude-newer-package six=false)"
echo "$found"
[[ "$found" == "tree of a lock without a date: six 1.16.0, and a newer one
tree: six 1.16.0
tree with a later date: six 1.16.0
tree without a date for six: six 1.16.0
compile: six 1.16.0
compile without a date for six: a newer one" ]] || { echo "The behaviour has changed."; exit 1; }
