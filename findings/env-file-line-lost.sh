#!/usr/bin/env bash
# One line of `.env` that a shell understands is lost in python-dotenv; in uv, so are all lines after it. Both go on.
# Expected: all readers of `.env` agree, or those that do not understand a line end with an error.
# Seen with python-dotenv 1.2.4 and uv 0.13.9: for `B="two"; export B`, python-dotenv logs a warning, and answers without
# B. `uv run --env-file` warns, starts the command with the variables before that line alone, and ends with 0; a value
# with `$NAME` right before the closing quote is enough for that, which python-dotenv takes as it stands. Output:
#   B="two"; export B: shell one two three, python-dotenv one - three, uv one - - (status 0)
#   B="$A": shell one one three, python-dotenv one $A three, uv one - - (status 0)
#   B="$A/": shell one one/ three, python-dotenv one $A/ three, uv one one/ three (status 0)
# shellcheck disable=SC1091,SC2016 # the file is made below, and the lines of it are literal
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9 python-dotenv==1.2.4
export UV_CACHE_DIR="$place/cache" UV_PYTHON_DOWNLOADS=never UV_PYTHON="$place/tools/bin/python" HOME="$place"
unset A B C
tools/bin/uv --version
tools/bin/python -c 'from importlib.metadata import version; print("python-dotenv", version("python-dotenv"))'

cat > read.py <<'END'
from dotenv import dotenv_values
values = dotenv_values(".env")
print(*(values.get(name, "-") for name in "ABC"))
END
cat > show.sh <<'END'
echo "${A:--} ${B:--} ${C:--}"
END
try() { # LINE: print A, B and C, as a shell, python-dotenv and uv read them
    local by_shell by_dotenv by_uv status=0
    printf 'A="one"\n%s\nC="three"\n' "$1" > .env
    by_shell="$(set -a && . ./.env && bash show.sh)"
    by_dotenv="$(tools/bin/python read.py 2> /dev/null)"
    by_uv="$(tools/bin/uv run --no-project --env-file .env bash show.sh 2> /dev/null)" || status=$?
    echo "$1: shell $by_shell, python-dotenv $by_dotenv, uv $by_uv (status $status)"
}

found="$(try 'B="two"; export B'; try 'B="$A"'; try 'B="$A/"')"
echo "$found"
[[ "$found" == 'B="two"; export B: shell one two three, python-dotenv one - three, uv one - - (status 0)
B="$A": shell one one three, python-dotenv one $A three, uv one - - (status 0)
B="$A/": shell one one/ three, python-dotenv one $A/ three, uv one one/ three (status 0)' ]] ||
    { echo "The behaviour has changed."; exit 1; }
