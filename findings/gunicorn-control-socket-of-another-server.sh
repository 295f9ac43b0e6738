#!/usr/bin/env bash
# A second gunicorn of the same user takes the control socket from the first, by default.
# Expected: each server keeps a socket of its own, or the second one refuses to start, as with a port that is in use.
# Seen with gunicorn 27.0.1 and Python 3.11.7: the socket's path depends on the user alone. The second server unlinks it
# and binds its own without a word; `gunicornc` then talks to the second one, and once that has ended, to none, although
# the first still serves. `--no-control-socket`, or `--control-socket PATH` for each server, avoids it. Output:
#   first alone: the socket is of the first
#   both: the socket is of the second
#   second has ended: no socket, the first still serves
set -euo pipefail
place="$(mktemp -d)"
first="" second=""
trap 'kill $first $second 2>/dev/null || true; rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check gunicorn==27.0.1
tools/bin/gunicorn --version
python3 --version
export HOME="$place" XDG_RUNTIME_DIR="$place/run"
mkdir -m 700 run

cat > app.py <<'END'
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
END

start() { # NAME: start a server, and wait until it listens and has had time for its control socket
    tools/bin/gunicorn --bind "unix:$place/$1.sock" app > "$1.log" 2>&1 &
    echo $! > "$1.pid"
    for _ in $(seq 100); do
        [[ -S "$1.sock" ]] && grep -q "Control socket listening" "$1.log" && return
        sleep 0.1
    done
    cat "$1.log"
    exit 1
}
find_socket() { find "$place" -type s ! -name first.sock ! -name second.sock; }
name_inode() { local path; path="$(find_socket)"; [[ -n "$path" ]] && stat --format %i "$path" || true; }

start first
first="$(cat first.pid)"
one="$(name_inode)"
found="first alone: $([[ -n "$one" ]] && echo "the socket is of the first" || echo "no socket")"
start second
second="$(cat second.pid)"
two="$(name_inode)"
found+=$'\n'"both: $([[ "$two" == "$one" ]] && echo "the socket is of the first" || echo "the socket is of the second")"
kill "$second"
wait "$second" 2>/dev/null || true
second=""
serves="$(kill -0 "$first" && echo "the first still serves")"
found+=$'\n'"second has ended: $([[ -n "$(find_socket)" ]] && echo "a socket" || echo "no socket"), $serves"
echo "$found"
[[ "$found" == "first alone: the socket is of the first
both: the socket is of the second
second has ended: no socket, the first still serves" ]] || { echo "The behaviour has changed."; exit 1; }
