"""The directory that releaser is installed into: its environment, the wheels to build it again, and its launcher.

    bin/releaser       the launcher, which needs no Python
    venv/              the environment
    wheels/            the wheels of releaser and its requirements, for each Python that may come
    requirements.txt   their hashes
    build, build.py    build the environment again, without a network
    start.py           what the Python of the environment runs
    share              a link to man pages and completions

These modules use the standard library alone: they run before there is an environment, and `build.py` and `start.py`
as copies in that directory.
"""
