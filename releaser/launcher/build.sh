#!/bin/sh
# Builds releaser's environment again, without a network, for the Python of this host.
# With --if-needed, only if the environment does not run, or is for another Python.
home=@HOME@
pythons=@PYTHONS@
preferred=@PYTHON@

# True if the program is a Python that there are wheels for.
fits() {
    version="$("$1" -I -c 'import ctypes, sys, zipfile; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" || return 1
    case " $pythons " in *" $version "*) ;; *) return 1 ;; esac
}

names=
for version in $pythons; do
    names="python$version $names"
done
PATH="${PATH:-/usr/bin:/bin}:/usr/local/bin:/usr/bin"
for name in "$preferred" python3 $names; do
    python="$(command -v "$name")" || continue
    if fits "$python"; then
        exec "$python" -I "$home/build.py" "$@"
    fi
done
echo "releaser: it needs one of Python $pythons, and none was found. Nothing was changed." >&2
echo "Install one, then run the same command again. For a newer Python, install a newer releaser." >&2
exit 3
