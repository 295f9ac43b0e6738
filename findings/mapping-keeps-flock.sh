#!/usr/bin/env bash
# A lock by flock(2) stays after its last descriptor was closed, as long as a process has the file mapped.
# Expected: flock(2) says that a lock is released when all descriptors of the open file were closed.
# Seen with Linux 6 and Python 3.11.7: a memory mapping holds the open file, and thereby the lock. The lock lasts through
# a `closerange` and in a forked child, and ends with `munmap` of the last mapping, or with exec. So a daemon that closes
# all descriptors may still hold one, and /proc/PID/fd does not show it: /proc/PID/maps does. Output:
#   descriptor closed, mapped: locked
#   mapped in the forked child alone: locked
#   child runs another program: free
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
uname --kernel-name --kernel-release
python3 --version

echo content > file
cat > try.py <<'END'
import fcntl
import os
from ctypes import CDLL, c_long, c_void_p

PROT_READ, MAP_SHARED = 1, 1
libc = CDLL(None)
libc.mmap.restype = c_void_p


def ask():
    with open("file", "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "locked"
        return "free"


descriptor = os.open("file", os.O_RDONLY)
fcntl.flock(descriptor, fcntl.LOCK_SH)
address = libc.mmap(c_void_p(None), c_long(1), PROT_READ, MAP_SHARED, descriptor, c_long(0))
os.closerange(3, 256)
print("descriptor closed, mapped:", ask(), flush=True)

go, on_go = os.pipe()
on_exec, until_exec = os.pipe()  # both ends are closed by exec
stop, on_stop = os.pipe()
child = os.fork()
if not child:
    os.close(on_go)
    os.close(on_stop)
    os.dup2(stop, 0)
    os.read(go, 1)
    os.execvp("cat", ["cat"])
os.close(until_exec)
libc.munmap(c_void_p(address), c_long(1))
print("mapped in the forked child alone:", ask(), flush=True)
os.write(on_go, b"x")
os.read(on_exec, 1)
print("child runs another program:", ask())
os.close(on_stop)
os.waitpid(child, 0)
END
found="$(timeout 60 python3 try.py)"
echo "$found"
[[ "$found" == "descriptor closed, mapped: locked
mapped in the forked child alone: locked
child runs another program: free" ]] || { echo "The behaviour has changed."; exit 1; }
