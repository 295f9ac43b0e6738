#!/bin/sh
# Starts releaser. If the Python of its environment is gone, such as after an upgrade of the operating system, builds the
# environment again. Modules on PYTHONPATH are for the site's programs: they may be for another Python.
home=@HOME@
if [ ! -x "$home/venv/bin/python" ] || [ ! -e "$home/venv/stdlib" ]; then
    "$home/build" --if-needed || exit 3
fi
exec "$home/venv/bin/python" -I "$home/start.py" "$@"
