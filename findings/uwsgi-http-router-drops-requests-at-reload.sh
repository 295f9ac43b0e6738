#!/usr/bin/env bash
# A graceful reload of uWSGI by `touch-reload` drops requests that come by `--http`, and none by `--http-socket`.
# Expected: the sockets stay open over the reload, for the HTTP router as for the workers.
# Seen with uWSGI 2.0.31 and Python 3.11.7: the router is a process of its own, which ends with each reload, with the
# requests that it has in hand, and while it starts again nobody accepts. Output:
#   --http-socket: 5 reloads, 0 requests failed
#   --http: 5 reloads, some requests failed
set -euo pipefail
place="$(mktemp -d)"
server=""
trap 'kill -9 $server 2>/dev/null || true; wait; rm -rf "$place"' EXIT
cd "$place"
uv venv --quiet venv
uv pip install --quiet --python venv/bin/python uwsgi==2.0.31
venv/bin/python --version
venv/bin/uwsgi --version
cat > app.py <<'END'
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
END
cat > visit.py <<'END'
import os, sys, threading, time, urllib.request
port, failed, stop = sys.argv[1], [0], threading.Event()
def get():
    return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30).read()
def visit():
    while not stop.is_set():
        try:
            get()
        except OSError:
            failed[0] += 1
            time.sleep(0.01)
for _ in range(600):
    try:
        get()
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit("uWSGI did not start")
visitors = [threading.Thread(target=visit, daemon=True) for _ in range(4)]
for visitor in visitors:
    visitor.start()
def count():
    with open("log") as log:
        return log.read().count("(RE)spawned uWSGI master")
for number in range(1, 6):
    time.sleep(1)
    before = count()
    os.utime("reload")
    for _ in range(300):
        if count() > before:
            break
        time.sleep(0.1)
    else:
        sys.exit("uWSGI did not reload")
time.sleep(2)
stop.set()
for visitor in visitors:
    visitor.join()
print(failed[0])
END
touch reload
port="$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
for option in --http-socket --http; do
    venv/bin/uwsgi "$option" "127.0.0.1:$port" --module app --master --processes 2 --lazy-apps --touch-reload reload \
        --die-on-term > log 2>&1 &
    server=$!
    failed="$(venv/bin/python visit.py "$port")"
    kill "$server" && wait "$server" || true
    echo "$option: 5 reloads, $([[ "$failed" == 0 ]] && echo "0 requests failed" || echo "some requests failed")"
    [[ "$option $((failed > 0))" == "--http-socket 0" || "$option $((failed > 0))" == "--http 1" ]] ||
        { echo "Changed: $option failed $failed requests."; exit 1; }
done
