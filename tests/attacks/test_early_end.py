"""A package that ends the tests early, with exit status 0, does not pass them."""

import pytest

from tests.support.sites import SiteFactory

# What a runner may do that releaser does not know.
RUNNERS = {
    "it prints nothing": "import alpha",
    "it ends by sys.exit": "import alpha, sys; sys.exit(0)",
    "it starts Pythons": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import alpha'], check=True)",
    "a child of a fork ends early": "import alpha, os\nif not os.fork():\n    os._exit(0)\nos.wait()",
    "it starts a pool": "import alpha, multiprocessing\nwith multiprocessing.Pool(2) as one:\n    one.map(abs, [1, 2])",
    "it becomes another Python": "import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'import alpha'])",
    "it becomes a shell": "import alpha, os; os.execvp('sh', ['sh', '-c', 'exit 0'])",
    "it looks for what to become": "import alpha, os\ntry: os.execv('/nowhere', ['x'])\nexcept OSError: pass",
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("sandbox", ["auto", "off"])
@pytest.mark.parametrize("becomes", [False, True])
def test_a_package_that_ends_the_tests_is_not_live(make_site: SiteFactory, sandbox: str, becomes: bool) -> None:
    """Also where the runner has become another Python before."""
    runner = RUNNERS["it becomes another Python" if becomes else "it prints nothing"]
    site = make_site.adopted(settings={"test_command": ["python", "run_tests.py"]}, files={"run_tests.py": runner})
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": "import os\n__version__ = '1.1.0'\nos._exit(0)\n"})
    report = site.json("update", check=5, env={"RELEASER_SANDBOX": sandbox})
    assert "Python ended before the tests did, with status 0" in str(report)
    assert site.live_version("alpha") == "1.0.0"


COMMANDS = ("sh -c true", "python -S -c pass", "sh -c \"python -c 'import alpha'\"")


def test_a_runner_that_ends_normally_or_is_not_a_python_of_the_venv_passes(make_site: SiteFactory) -> None:
    site = make_site.adopted(settings={"test_command": ["python", "run_tests.py"]})
    for way, runner in RUNNERS.items():
        site.push_commit(way, {"run_tests.py": runner})
        assert site.json("verify", "--tests")["problems"] == [], way
    for command in COMMANDS:
        assert site.json("verify", "--tests", env={"RELEASER_TEST_COMMAND": command})["problems"] == [], command
