#!/usr/bin/env bash
# `uv lock --upgrade` makes the next `uv sync` build a package again that has no wheel on the index.
# Expected: the wheel that uv built of this version is still in its cache, and is installed, as after a second `uv sync`.
# Seen with uv 0.13.9: `--upgrade` refreshes what is cached, also with `--no-refresh`. The source distribution gets a new
# entry beside the one with the wheel, although its version and hash are the same. Every night with an upgrade compiles
# uWSGI or psycopg-c again wherever they are installed anew. Output:
#   first sync: built
#   second sync: from the cache
#   sync after `uv lock --upgrade`: built
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
export UV_CACHE_DIR="$place/cache"
uv --version

cat > pyproject.toml <<'END'
[project]
name = "site"
version = "1"
requires-python = ">=3.11"
dependencies = ["docopt==0.6.2"]
END
sync() { rm -rf .venv; uv sync --frozen 2>&1 | grep -q "Built docopt" && echo "built" || echo "from the cache"; }

uv lock --quiet
echo "first sync: $(sync)"
echo "second sync: $(sync)"
uv lock --quiet --upgrade
seen="$(sync)"
echo "sync after \`uv lock --upgrade\`: $seen"
[[ "$seen" == "built" ]] || { echo "Changed: the wheel is found again."; exit 1; }
