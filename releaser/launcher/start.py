"""Runs releaser; if the Python of its environment was exchanged for another version, first builds it again."""

# Runs as a copy, with the Python of the environment, whatever version that is now.
import os
import sys

_AGAIN = "_RELEASER_BUILT"


def start(home: str) -> None:
    sys.argv[0] = os.path.join(home, "bin", "releaser")
    try:
        from releaser.__main__ import main
    except ImportError:
        if os.environ.pop(_AGAIN, None):
            raise
        build = os.path.join(home, "build")
        if os.spawnv(os.P_WAIT, build, [build, "--if-needed"]):
            sys.exit(3)
        os.environ[_AGAIN] = "1"
        python = os.path.join(home, "venv", "bin", "python")
        os.execv(python, [python, "-I", os.path.abspath(__file__), *sys.argv[1:]])
    os.environ.pop(_AGAIN, None)
    main()


if __name__ == "__main__":
    start(os.path.dirname(os.path.abspath(__file__)))
