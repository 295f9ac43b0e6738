#!/usr/bin/env bash
# `uv sync --dry-run --output-format json` names the version of a package from git only if the cache has its build.
# Expected: the answer follows from the lock, which has the version.
# Seen with uv 0.13.9: for a new commit whose version stays, the entry `installed` has no `version` as long as the commit
# was not built on this host; once any other venv has it, the same question is answered with one. A comparison of the
# versions in `uninstalled` and `installed` calls the two the same in one case alone. Output:
#   not built yet: 1.0 -> none; built for another venv: 1.0 -> 1.0
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
export UV_CACHE_DIR="$place/cache" UV_PYTHON_DOWNLOADS=never HOME="$place" GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
uv="$place/tools/bin/uv"
"$uv" --version

mkdir library project
cat > library/pyproject.toml <<'END'
[project]
name = "library"
version = "1.0"
requires-python = ">=3.9"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
END
cat > library/backend.py <<'END'
import zipfile

def build_wheel(directory, settings=None, metadata=None):
    info = "library-1.0.dist-info"
    files = {
        "library.py": open("library.py").read(),
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: library\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"{directory}/library-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return "library-1.0-py3-none-any.whl"
END
echo "EDITION = 1" > library/library.py
git -C library init --quiet
git -C library add --all
git -C library commit --quiet --message=1
cat > project/pyproject.toml <<END
[project]
name = "project"
version = "1.0"
requires-python = ">=3.9"
dependencies = ["library"]
[tool.uv.sources]
library = { git = "file://$place/library" }
END

ask() { # print the version that goes and the one that comes, in the venv `first`
    UV_PROJECT_ENVIRONMENT="$place/first" "$uv" sync --quiet --frozen --dry-run --output-format json --project project |
        python3 -c '
import json, sys
changes = {change["action"]: change.get("version", "none") for change in json.load(sys.stdin)["sync"]["changes"]}
print(changes["uninstalled"], "->", changes["installed"])'
}

UV_PROJECT_ENVIRONMENT="$place/first" "$uv" sync --quiet --project project
echo "EDITION = 2" > library/library.py
git -C library commit --quiet --all --message=2
"$uv" lock --quiet --upgrade --project project
before="$(ask)"
UV_PROJECT_ENVIRONMENT="$place/second" "$uv" sync --quiet --frozen --project project
after="$(ask)"
echo "not built yet: $before; built for another venv: $after"
[[ "$before; $after" == "1.0 -> none; 1.0 -> 1.0" ]] || { echo "The behaviour has changed."; exit 1; }
