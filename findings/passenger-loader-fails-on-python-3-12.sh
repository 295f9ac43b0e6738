#!/usr/bin/env bash
# Passenger of Debian 12 starts no application on Python 3.12 or newer.
# Expected: the Python of `PassengerPython` may be any that the application runs on.
# Seen with Passenger 6.0.17 and Python 3.12.1: its loader imports the module `imp`, which Python 3.12 removed, before it
# looks at the application. Each request gets 500. With Python 3.11 the loader starts, and waits for Passenger. Output:
#   Python 3.11: the loader starts
#   Python 3.12: ModuleNotFoundError: No module named 'imp'
# For Debian 12, whose packages have this version; `uv` finds both Pythons.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
old="$(uv python find 3.11)" new="$(uv python find 3.12)"
"$old" --version
"$new" --version
chmod 755 "$place"
apt-get download --quiet=2 passenger=6.0.17+ds-1 2> apt.log || { cat apt.log; exit 1; }
dpkg-deb --extract passenger_*.deb passenger
loader="passenger/usr/share/passenger/helper-scripts/wsgi-loader.py"

start() { { "$1" -W ignore "$loader" < /dev/null 2>&1 || true; } | tail -n 1; }
echo "Python 3.11: $(start "$old" | grep -q "No module named 'imp'" && echo "no imp" || echo "the loader starts")"
seen="$(start "$new")"
echo "Python 3.12: $seen"
[[ "$seen" == "ModuleNotFoundError: No module named 'imp'" ]] || { echo "Changed: the loader starts on Python 3.12."; exit 1; }
