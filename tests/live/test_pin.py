"""A process stays whole on the release that it was started on, whatever way it was started."""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from releaser.releases import leases, startup
from releaser.releases.lease import LEASE
from releaser.system.files import link_text
from releaser.system.process import Runner
from tests.e2e.scenes import eventually
from tests.live.pair import PYTHONS, SCRIPT, Pair, interpreter, names_of, whole
from tests.support.commands import run, uv_executable
from tests.support.guards import require

THIS = "{}.{}".format(*sys.version_info)

WAYS: dict[str, list[str]] = {
    "script": [".venv/bin/python", "x.py"],
    "absolute": ["{link}/bin/python", "x.py"],
    "module": [".venv/bin/python", "-m", "probe"],
    "command": [".venv/bin/python", "-c", SCRIPT],
    "console script": [".venv/bin/probe"],
    "absolute console script": ["{link}/bin/probe"],
    "adopted console script": [".venv/bin/adopted"],
    "isolated": [".venv/bin/python", "-I", "-m", "probe"],
    "no environment": [".venv/bin/python", "-E", "x.py"],
    "no byte code": [".venv/bin/python", "-B", "x.py"],
    "its own release": ["{venv}/bin/python", "x.py"],
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(one, marks=[] if one == THIS else pytest.mark.slow) for one in PYTHONS],
)
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Two releases with each Python in turn."""
    return Pair(tmp_path_factory.mktemp("pair"), request.param)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Two releases with the Python of the tests."""
    return Pair(tmp_path_factory.mktemp("pair"), THIS)


@pytest.fixture
def pair(shared: Pair) -> Pair:
    """The same two, with `a` live."""
    shared.flip("a")
    return shared


def in_words(pair: Pair, way: str) -> list[str]:
    return [word.format(link=pair.link, venv=pair.venv("a")) if "{" in word else word for word in WAYS[way]]


def test_a_process_is_whole_after_a_flip(each: Pair) -> None:
    for way in WAYS:
        each.flip("a")
        whole(each.facts_after_flip(*in_words(each, way)), each, "a")


def test_without_the_module_a_process_is_torn(tmp_path: Path) -> None:
    """What the module is there for; the other tests mean something only as long as this is so."""
    pair = Pair(tmp_path, THIS, pinned=False)
    facts = pair.facts_after_flip(*WAYS["script"])
    assert (facts["early"], facts["late"]) == ("a", "b")


def test_uv_run_is_whole(pair: Pair) -> None:
    whole(pair.facts_after_flip(uv_executable(), "run", "--no-sync", "--offline", "python", "x.py"), pair, "a")


def test_uv_is_on_the_new_release_after_a_flip(each: Pair) -> None:
    """uv keeps by the path of `.venv` what its interpreter has said of itself: that must not be about one release."""
    run = ["run", "--no-sync", "--offline", "python", "-c", "import sys; print(sys.prefix)"]
    pip = ["pip", "list", "--format", "freeze", "--python", str(each.link / "bin" / "python")]
    for name in ("a", "b"):
        each.flip(name)
        assert each.said(uv_executable(), *run).strip() == str(each.venv(name))
        assert f"late==1+{name}" in each.said(uv_executable(), *pip)


def test_the_base_of_a_venv_is_what_it_is_without_the_pin(each: Pair) -> None:
    """Before Python 3.11 it is the executable of the venv itself, by which uv and virtualenv know to look further."""
    each.flip("a")
    program = "import sys; print(sys._base_executable == sys.executable, sys._base_executable)"
    same, base = each.said(".venv/bin/python", "-c", program).split()
    if same == "True":
        assert base == str(each.venv("a") / "bin" / "python")
    else:
        assert not base.startswith(str(each.site.parent))


def test_each_python_finds_its_byte_code(each: Pair) -> None:
    startup.install(each.venv("a"), Runner(environ=each.env))
    each.flip("a")
    for options in ((), ("-O",), ("-OO",)):
        words = [each.link / "bin" / "python", "-v", "-B", *options, "-c", "import _releaser_pin_rare"]
        said = run(words, cwd=each.site, env=each.env, check=0).stderr
        assert len(re.findall(r"/__pycache__/_releaser_pin\S* matches ", said)) == 2


def test_a_process_that_is_started_later_is_on_the_new_release(pair: Pair) -> None:
    pair.flip("b")
    whole(pair.facts_after_flip(*WAYS["script"]), pair, "b")


def child_of(method: str) -> str:
    return (
        "import multiprocessing, probe\n"
        "if __name__ == '__main__':\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    print('ready', flush=True)\n"
        "    input()\n"
        "    child = context.Process(target=probe.answer)\n"
        "    child.start()\n"
        "    child.join()\n"
    )


CHILDREN = {
    "sys.executable": (
        "import subprocess, sys; print('ready', flush=True); input();"
        "sys.exit(subprocess.call([sys.executable, '-c', 'import probe; probe.answer()']))"
    ),
    **{method: child_of(method) for method in ("fork", "spawn", "forkserver")},
}


@pytest.mark.parametrize("way", CHILDREN)
def test_children_are_on_the_same_release(pair: Pair, way: str) -> None:
    program = pair.site / f"{way}.py"
    program.write_text(CHILDREN[way], encoding="utf-8")
    whole(pair.facts_after_flip(".venv/bin/python", program), pair, "a")


def test_the_release_is_found_behind_other_symlinks_and_without_proc(pair: Pair) -> None:
    alias, program = pair.site.parent / "alias", "import sys; print(sys.prefix)"
    alias.symlink_to("site")
    for link in (alias / ".venv", pair.link):
        assert pair.said(link / "bin" / "python", "-c", program).strip() == str(pair.venv("a"))
    require(os.geteuid() == 0 and shutil.which("unshare"), "only root can hide /proc")
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    program += "; import os; assert not os.listdir('/proc')"
    assert pair.said(*hidden, alias / ".venv" / "bin" / "python", "-c", program).strip() == str(pair.venv("a"))


def test_without_site_there_is_no_pin(pair: Pair) -> None:
    program = "import sys; print('_releaser_pin' in sys.modules, sys.prefix)"
    assert pair.said(".venv/bin/python", "-S", "-c", program).split()[0] == "False"


def test_nothing_of_it_is_left_in_the_way_of_imports(pair: Pair) -> None:
    """Also where the first import is of a module that is built into Python: nothing is left after that one."""
    program = "import late, sys; print([type(finder).__name__ for finder in sys.meta_path])"
    (pair.site / "finders.py").write_text(program, encoding="utf-8")
    for words in (["-c", program], ["finders.py"]):
        assert "_Pin" not in pair.said(".venv/bin/python", *words)
    script = pair.venv("a") / "bin" / "first.py"
    for name in ("itertools", "faulthandler"):
        script.write_text(f"import sys\nassert {name!r} not in sys.modules\nimport {name}", encoding="utf-8")
        pair.said(".venv/bin/python", ".venv/bin/first.py")


def test_no_directory_is_twice_in_the_path(tmp_path: Path) -> None:
    """The `site` module adds site-packages a second time, by the prefix that is pinned by then."""
    pair = Pair(tmp_path, THIS)
    (pair.packages("a") / "extra.pth").unlink()  # after which there would be something to replace anyway
    said = pair.said(".venv/bin/python", "-c", "import json, sys; print(json.dumps(sys.path))")
    path = json.loads(said)
    assert path.count(str(pair.packages("a"))) == 1
    assert len(path) == len(set(path))


def test_a_program_of_another_python_may_add_the_venv_to_its_path(pair: Pair) -> None:
    """As mod_wsgi does with `python-path`: what it imports is pinned, and it stays what it is for the rest."""
    place = pair.link / pair.packages("a").relative_to(pair.venv("a"))
    program = (
        "import site, sys\n"
        "before = sys.prefix, sys.executable\n"
        f"site.addsitedir({str(place)!r})\n"
        "import late\n"
        "assert (sys.prefix, sys.executable) == before\n"
        "print(late.__file__, [type(finder).__name__ for finder in sys.meta_path])\n"
    )
    said = pair.said(interpreter(THIS), "-c", program)
    assert said.startswith(str(pair.packages("a") / "late.py"))
    assert "_Pin" not in said


def test_further_interpreters_of_a_process_are_pinned_like_the_first(each: Pair) -> None:
    each.flip("a")
    program = (
        "import sys\n"
        "ask = 'import sys; print(sys.prefix, sys.executable.rpartition(\"/bin/\")[0], flush=True)'\n"
        "exec(ask)\n"
        "for _ in range(3):\n"
        "    if sys.version_info >= (3, 13):\n"
        "        import _interpreters\n"
        "        _interpreters.run_string(_interpreters.create('legacy'), ask)\n"
        "    else:\n"
        "        import _xxsubinterpreters\n"
        "        options = {'isolated': False} if sys.version_info >= (3, 9) else {}\n"
        "        _xxsubinterpreters.run_string(_xxsubinterpreters.create(**options), ask)\n"
    )
    said = each.said(".venv/bin/python", "-c", program)
    assert said.splitlines() == [f"{each.venv('a')} {each.venv('a')}"] * 4


def test_a_daemon_that_closes_all_descriptors_keeps_its_later_ones_in_its_children(each: Pair) -> None:
    """Also those with the number of one that the start-up module had; see `test_in_use` for its lease."""
    each.flip("a")
    program = (
        "import os\n"
        "os.closerange(3, 1000)\n"
        "opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]\n"
        "for _ in range(2):\n"  # the second time, in a child of the child
        "    if os.fork() == 0:\n"
        "        for descriptor in opened:\n"
        "            os.fstat(descriptor)\n"
        "    else:\n"
        "        os._exit(1 if os.wait()[1] else 0)\n"
    )
    each.said(".venv/bin/python", "-c", program)


def test_the_directory_of_a_script_in_the_venv_and_what_the_environment_gives_is_pinned_too(pair: Pair) -> None:
    program = "import json, sys, late; print(json.dumps(sys.path))"
    for place in (pair.link, pair.venv("a")):
        (place / "bin" / "where.py").write_text(program, encoding="utf-8")
        assert names_of(json.loads(pair.said(".venv/bin/python", ".venv/bin/where.py")), pair.link) == []
    path = pair.said(".venv/bin/python", "-c", program, env={"PYTHONPATH": str(pair.link / "lib")})
    assert f"{pair.venv('a')}/lib" in json.loads(path)
    assert names_of(json.loads(path), pair.link) == []


# What must never stop an interpreter


def replace_lease(venv: Path, _: Path) -> None:
    (venv / "releaser.lease").unlink()
    (venv / "releaser.lease").mkdir()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda _, module: module.write_text(""), id="empty module"),
        pytest.param(lambda _, module: module.write_text("def"), id="syntax error"),
        pytest.param(lambda _, module: module.write_text("raise RuntimeError('broken')"), id="raises"),
        pytest.param(lambda _, module: module.unlink(), id="gone"),
        pytest.param(lambda venv, _: (venv / "releaser.lease").unlink(), id="no lease"),
        pytest.param(replace_lease, id="lease is a directory"),
        pytest.param(lambda venv, _: (venv / "releaser.lease").write_text(""), id="lease is empty"),
    ],
)
def test_a_broken_pin_stops_nothing(tmp_path: Path, spoil: Callable[[Path, Path], object]) -> None:
    pair = Pair(tmp_path, THIS)
    spoil(pair.venv("a"), pair.packages("a") / "_releaser_pin.py")
    assert pair.said(".venv/bin/python", "-c", "import late, extra; print(late.RELEASE + extra.RELEASE)") == "aa\n"


@pytest.mark.parametrize("word", [r"'\ud800'", "3"])
def test_arguments_that_are_none_stop_nothing(tmp_path: Path, word: str) -> None:
    """An embedding program may leave anything in `sys.argv`."""
    pair = Pair(tmp_path, THIS)
    (pair.packages("a") / "000.pth").write_text(f"import sys; sys.argv[1:] = [{word}]\n", encoding="utf-8")
    said = pair.said(".venv/bin/python", "-c", "import sys; print(sys.prefix, sys.executable)")
    assert said == f"{pair.venv('a')} {pair.venv('a')}/bin/python\n"


def test_a_claimed_lease_is_waited_for_a_moment_and_stops_nothing(pair: Pair) -> None:
    """Who looks whether a release is used holds it for a moment, and on a busy machine for longer."""
    claimed, lease = leases.claim(str(pair.release("a"))), str(pair.release("a") / LEASE)
    assert claimed is not None
    whole(pair.facts_after_flip(*WAYS["script"]), pair, "a")
    pair.flip("a")
    with pair.start(".venv/bin/python", "-c", "print('ready', flush=True); input()") as process:
        opened = Path(f"/proc/{process.pid}/fd")
        eventually(lambda: lease in [link_text(one) for one in opened.iterdir()], "its wait")
        time.sleep(0.2)
        os.close(claimed)
        assert process.stdout is not None
        process.stdout.readline()
        assert leases.holders(str(pair.release("a"))) == [process.pid]
        process.communicate("\n", timeout=60)


@pytest.mark.parametrize(
    ("mine", "again"),
    [
        ("sys.executable == INTERP", "os.execl(INTERP, INTERP, *sys.argv)"),
        ("INTERP == f'{sys.prefix}/bin/python'", "sys.exit(call([INTERP, *sys.argv]))"),
    ],
)
def test_start_scripts_that_look_for_their_python_by_name_come_to_an_end(pair: Pair, mine: str, again: str) -> None:
    program, by_name = pair.site / "start.py", pair.link / "bin" / "python"
    program.write_text(
        "import os, sys\n"
        "from subprocess import call\n"
        f"INTERP = {str(by_name)!r}\n"
        f"if not ({mine}):\n"
        "    os.environ['DEPTH'] = depth = os.environ.get('DEPTH', '') + '.'\n"
        "    if len(depth) > 5: sys.exit('this would go on for ever')\n"
        f"    {again}\n"
        "from probe import main\n"
        "main()\n",
        encoding="utf-8",
    )
    for python in (interpreter(THIS), sys.executable, by_name):
        pair.flip("a")
        facts = pair.facts_after_flip(python, program)
        assert facts["file"] == str(pair.packages("a") / "late.py")
        if "execl" in again:
            assert facts["executable"] == str(by_name)
            whole({**facts, "executable": f"{facts['prefix']}/bin/python"}, pair, "a")


def test_a_copy_of_a_venv_is_nobodys_release(pair: Pair, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(pair.venv("a"), copied, symlinks=True)
    (copied / "releaser.lease").unlink()
    linked = tmp_path / "linked"
    linked.symlink_to(copied)
    assert pair.said(linked / "bin" / "python", "-c", "import sys; print(sys.prefix)") == f"{linked}\n"


def test_a_server_that_executes_itself_after_a_flip_is_pinned_to_the_new_release(pair: Pair) -> None:
    program = pair.site / "again.py"
    program.write_text(
        "import os, sys\n"
        "if len(sys.argv) < 2:\n"
        "    print('ready', flush=True)\n"
        "    input()\n"
        f"    os.execl(*[{str(pair.link / 'bin' / 'python')!r}] * 2, *sys.argv, 'again')\n"
        "import probe\n"
        "probe.answer()\n",
        encoding="utf-8",
    )
    whole(pair.facts_after_flip(pair.link / "bin" / "python", program), pair, "b")


def test_processes_are_found_where_the_kernel_names_another_device_or_another_process(pair: Pair) -> None:
    """On Btrfs, stat(2) tells the device of the subvolume, and /proc/locks that of the file system.

    Of a process that has forked and ended, the kernel tells a number that may be anybody's by now.
    """
    with pair.start(".venv/bin/python", "-c", "print('ready', flush=True); input()") as process:
        assert process.stdout is not None
        process.stdout.readline()
        locks = {(0, major + 1000, inode): pids for (major, _, inode), pids in leases.read_file_locks().items()}
        assert leases.holders(str(pair.release("a")), lambda: locks) == [process.pid]
        assert leases.holders(str(pair.release("b")), lambda: locks) == []
        reused = {place: [os.getpid()] for place in leases.read_file_locks()}
        assert leases.holders(str(pair.release("a")), lambda: reused) == [process.pid]
        process.communicate("\n", timeout=60)


def test_what_executes_another_program_gives_its_lease_back(pair: Pair) -> None:
    program = "import os; print('ready', flush=True); input(); os.execvp('sleep', ['sleep', '600'])"
    release = str(pair.release("a"))
    with pair.start(".venv/bin/python", "-c", program) as process:
        try:
            assert process.stdout is not None
            assert process.stdin is not None
            process.stdout.readline()
            assert leases.holders(release) == [process.pid]
            process.stdin.write("go\n")
            process.stdin.flush()
            eventually(lambda: leases.holders(release) == [], "the end of its use")
            assert process.poll() is None
        finally:
            process.kill()
