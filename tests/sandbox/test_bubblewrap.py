"""The sandbox: which sockets of the host are reached from it, and what happens if it cannot be made."""

import socket
from pathlib import Path

import pytest

from releaser.sandbox.layers import Layer, mounting
from releaser.sandbox.sockets import find_named, is_of_database, is_of_manager, list_covered, list_reached
from releaser.system.process import Runner, Sandbox

DATABASES = [
    "/run/postgresql/.s.PGSQL.5432", "/var/run/postgresql/.s.PGSQL.5433", "/tmp/.s.PGSQL.5432",
    "/run/mysqld/mysqld.sock",
    "/run/mysqld/mysqlx.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock", "/run/mariadb/mariadb.sock",
    "/run/redis/redis-server.sock", "/tmp/redis.sock", "/run/valkey/valkey.sock", "/run/memcached/memcached.sock",
    "/home/ada/site/redis-dev.sock", "/srv/docker/app/.s.PGSQL.5432", "/home/ada/docker-compose/redis.sock",
]  # fmt: skip
MANAGERS = [
    "/run/docker.sock", "/home/ada/.docker/run/docker.sock", "/run/user/1000/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/snapd.socket", "/run/dbus/system_bus_socket", "/run/user/1000/bus", "/tmp/ssh-XXXXaBcD/agent.4711",
    "/tmp/tmux-1000/default", "/home/ada/.screen/4711.pts-0", "/run/screen/S-ada/4711.pts-0",
    "/home/ada/.gnupg/S.gpg-agent",
    "/run/systemd/private", "/run/supervisor.sock", "/tmp/emacs1000/server",
    "/var/lib/lxd/unix.socket", "/run/libvirt/libvirt-sock", "/tmp/.X11-unix/X0",
]  # fmt: skip
OTHERS = ["/srv/site/app.sock", "/run/gunicorn.sock", "/home/ada/own/postgres", "/srv/docker/app/app.sock"]


def test_databases_are_known_by_their_place_or_name_and_are_all_that_is_reached_unless_it_is_named() -> None:
    paths = [*DATABASES, *MANAGERS, *OTHERS]
    assert [path for path in paths if path in list_reached([path], ())] == DATABASES
    assert [path for path in (*DATABASES, *OTHERS) if is_of_manager(path)] == []
    assert [path for path in MANAGERS if not is_of_manager(path)] == []
    assert [path for path in DATABASES if not is_of_database(path)] == []


@pytest.mark.parametrize("name", ["app.sock", "docker.sock"])
def test_a_socket_is_let_in_if_it_is_named_unless_it_is_of_a_manager(tmp_path: Path, name: str) -> None:
    """Also one of which the kernel tells nothing here, as it is of a container."""
    path = tmp_path / name
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(path))
        for named in (path, tmp_path):
            assert (str(path) in list_reached([], [str(named)])) == (name == "app.sock")
        assert list_covered([str(path)], [], ["/run"]) == [str(path)]
        assert list_covered([str(path)], [], [str(tmp_path)]) == []
    path.unlink()
    assert list_covered([str(path)], [], ["/run"]) == []
    assert str(path) not in list_reached([], [str(path)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CACHE_URL=unix:///srv/site/app.sock?db=1", ["/srv/site/app.sock"]),
        ("PGHOST=/srv/site", []),
        ('SOCKET="/srv/site/app.sock"', ["/srv/site/app.sock"]),
        ("ROOT=/srv", []),
        ("PLACE=/srv/site/media", []),
        ("HOST=/run", []),
    ],
)
def test_what_a_text_names(text: str, expected: list[str]) -> None:
    assert [*find_named([text], ["/srv/site/app.sock", "/run/gunicorn.sock"])] == expected


def test_a_program_whose_sandbox_cannot_begin_says_so_and_does_not_run(tmp_path: Path) -> None:
    sandbox = Sandbox(begin=mounting([Layer(place=str(tmp_path), base=str(tmp_path / "0"))]))
    runner = Runner(environ={"PATH": "/usr/bin:/bin"})
    finished = runner.run(["touch", "mark"], cwd=tmp_path, timeout=60, sandbox=sandbox, check=False)
    assert finished.returncode == 1
    assert finished.output.startswith("The sandbox cannot be made: ")
    assert not (tmp_path / "mark").exists()


def test_what_releaser_shares_with_tests_is_hidden_in_their_temporary_directory(tmp_path: Path) -> None:
    with Sandbox(outside=str(tmp_path), variables=(("TMPDIR", "/tmp"),)).shared_directory() as (place, seen):
        assert (place.parent, seen) == (tmp_path, f"/tmp/{place.name}")
        assert place.name.startswith(".")
