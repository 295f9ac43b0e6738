#!/usr/bin/env bash
# `uv lock --check`, `uv sync --locked` and a plain `uv lock` take a lock whose version its own project excludes.
# Expected: the lock does not fit, and `uv lock` moves the package.
# Seen with uv 0.13.9: uv compares the requirements of pyproject.toml with those that the lock has, but no version with them.
# A merge of two branches brings that without a conflict: one has the bound, with a fresh lock, the other one an upgrade.
# Each of the three commands ends with 0, and 1.1 is installed where `<1.1` is wanted, by `dependencies`, by
# `constraint-dependencies` and by `override-dependencies`. `uv lock --upgrade-package tea` puts it right. Output:
#   dependencies: lock --check 0, lock 0, still 1.1; sync --locked 0, installed 1.1
#   constraint: lock --check 0, lock 0, still 1.1; sync --locked 0, installed 1.1
#   override: lock --check 0, lock 0, still 1.1; sync --locked 0, installed 1.1
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
export UV_CACHE_DIR="$place/cache" UV_PYTHON_DOWNLOADS=never UV_PYTHON="$place/tools/bin/python" HOME="$place"
uv="$place/tools/bin/uv"
"$uv" --version

cat > make.py <<'END'
import zipfile

for version in ("1.0", "1.1"):
    info = f"tea-{version}.dist-info"
    files = {
        "tea.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tea\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"tea-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
END
mkdir wheels project
(cd wheels && python3 ../make.py)
cd project
write() { # REQUIREMENT KIND BOUND
  printf '[project]\nname = "shop"\nversion = "0"\nrequires-python = ">=3.9"\ndependencies = ["%s"]\n' "$1" > pyproject.toml
  printf '[tool.uv]\nno-index = true\nfind-links = ["../wheels"]\n%s-dependencies = ["%s"]\n' "$2" "$3" >> pyproject.toml
}
status() { "$@" > /dev/null 2>&1 && echo 0 || echo $?; }

differs=0
for kind in dependencies constraint override; do
  case "$kind" in
    dependencies) write 'tea<1.1' constraint 'tea' ;;
    *) write tea "$kind" 'tea<1.1' ;;
  esac
  rm -rf uv.lock .venv
  "$uv" lock --quiet
  sed -i 's/tea-1\.0-/tea-1.1-/; s/^version = "1\.0"$/version = "1.1"/' uv.lock
  check="$(status "$uv" lock --check)"
  lock="$(status "$uv" lock)"
  locked="$(sed -n '/^name = "tea"/{n;s/version = //p}' uv.lock | tr -d '"')"
  sync="$(status "$uv" sync --locked)"
  installed="$("$uv" pip list --quiet --python .venv/bin/python | sed -n 's/^tea *//p')"
  echo "$kind: lock --check $check, lock $lock, still $locked; sync --locked $sync, installed $installed"
  [ "$check$lock$sync $locked $installed" = "000 1.1 1.1" ] || differs=1
done
if [ "$differs" = 1 ]; then
  echo "uv behaves otherwise now" >&2
  exit 1
fi
