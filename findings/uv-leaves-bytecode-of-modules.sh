#!/usr/bin/env bash
# After an upgrade by uv, Python can run the bytecode of the older version: uv leaves that of top-level modules behind.
# Expected: what runs is the version that is installed. pip deletes the bytecode together with its source.
# Seen with uv 0.13.9, pip 25.3 and Python 3.11.7: uv deletes `__pycache__` in the directories of a package, but not the
# files of a `module.py` in site-packages, not even for `uv pip uninstall`. Python trusts bytecode if the size and the
# time of the source, in seconds, are those it was made from. A version number rarely changes the size of a file; and
# the time is the one of uv's cache, so two versions have the same one when that cache was copied or restored without
# times, as between the jobs of a CI. Output:
#   uv: the module says 1, the package says 2, bytecode of the module after uninstall: there
#   pip: the module says 2, the package says 2, bytecode of the module after uninstall: gone
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9 pip==25.3
export UV_CACHE_DIR="$place/cache" UV_PYTHON_DOWNLOADS=never UV_PYTHON="$place/tools/bin/python" HOME="$place"
unset PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX SOURCE_DATE_EPOCH
uv="$place/tools/bin/uv"
"$uv" --version
tools/bin/python -c 'import pip, platform; print("pip", pip.__version__, "Python", platform.python_version())'

cat > make.py <<'END'
import zipfile

for version in ("1", "2"):
    info = f"example-{version}.dist-info"
    files = {
        "module.py": f"VERSION = {version}\n",
        "package/__init__.py": f"VERSION = {version}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: example\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"example-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
END
python3 make.py

by_uv() { "$uv" pip --quiet "$@" --python "$place/venv"; }
by_pip() { tools/bin/python -m pip --quiet --disable-pip-version-check --python "$place/venv" "$@"; }
set_times() { find venv/lib/python3*/site-packages -name '*.py' -exec touch -d 2026-01-01 {} +; }
try() { # NAME: install both versions by that program, each with the same time of its files
    local by="by_$1" module package bytecode=gone
    rm -rf venv
    python3 -m venv --without-pip venv
    "$by" install ./example-1-py3-none-any.whl
    set_times
    venv/bin/python -c 'import module, package'
    "$by" install ./example-2-py3-none-any.whl
    set_times
    module="$(venv/bin/python -c 'import module; print(module.VERSION)')"
    package="$(venv/bin/python -c 'import package; print(package.VERSION)')"
    if [[ $1 == pip ]]; then "$by" uninstall --yes example; else "$by" uninstall example; fi
    compgen -G 'venv/lib/python3*/site-packages/__pycache__/module.*' > /dev/null && bytecode=there
    echo "$1: the module says $module, the package says $package, bytecode of the module after uninstall: $bytecode"
}

found="$(try uv; try pip)"
echo "$found"
[[ "$found" == "uv: the module says 1, the package says 2, bytecode of the module after uninstall: there
pip: the module says 2, the package says 2, bytecode of the module after uninstall: gone" ]] ||
    { echo "The behaviour has changed."; exit 1; }
