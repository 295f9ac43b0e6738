"""Bubblewrap: which sockets of the host are reached from a sandbox, and which are covered."""

from __future__ import annotations

import pytest

from releaser.system.sockets import find_named, is_of_database, is_of_manager, select_reached

DATABASES = [
    "/run/postgresql/.s.PGSQL.5432", "/var/run/postgresql/.s.PGSQL.5433", "/tmp/.s.PGSQL.5432",
    "/run/mysqld/mysqld.sock",
    "/run/mysqld/mysqlx.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock", "/run/mariadb/mariadb.sock",
    "/run/redis/redis-server.sock", "/tmp/redis.sock", "/run/valkey/valkey.sock", "/run/memcached/memcached.sock",
    "/home/ada/site/redis-dev.sock",
]  # fmt: skip
MANAGERS = [
    "/run/docker.sock", "/home/ada/.docker/run/docker.sock", "/run/user/1000/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/snapd.socket", "/run/dbus/system_bus_socket", "/run/user/1000/bus", "/tmp/ssh-XXXXaBcD/agent.4711",
    "/tmp/tmux-1000/default", "/home/ada/.screen/4711.pts-0", "/run/screen/S-ada/4711.pts-0",
    "/home/ada/.gnupg/S.gpg-agent",
    "/run/systemd/private", "/var/lib/lxd/unix.socket", "/run/libvirt/libvirt-sock", "/tmp/.X11-unix/X0",
]  # fmt: skip
OTHERS = ["/srv/site/app.sock", "/run/gunicorn.sock", "/home/ada/own/postgres", "/run/supervisor.sock"]


@pytest.mark.parametrize("path", DATABASES)
def test_a_database_is_reached(path: str) -> None:
    assert (is_of_database(path), is_of_manager(path)) == (True, False)
    assert [*select_reached([path], ())] == [path]


@pytest.mark.parametrize("path", MANAGERS)
def test_what_runs_programs_for_others_is_not_even_if_it_is_named(path: str) -> None:
    assert is_of_manager(path)
    assert [*select_reached([path], [path, path.rpartition("/")[0]])] == []


@pytest.mark.parametrize("path", OTHERS)
def test_any_other_is_reached_if_it_is_named(path: str) -> None:
    assert [*select_reached([path], ())] == []
    assert [*select_reached([path], [path])] == [path]
    assert [*select_reached([path], [path.rpartition("/")[0]])] == [path]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CACHE_URL=unix:///srv/site/app.sock?db=1", ["/srv/site/app.sock"]),
        ("PGHOST=/srv/site", ["/srv/site/app.sock"]),
        ('SOCKET="/srv/site/app.sock"', ["/srv/site/app.sock"]),
        ("ROOT=/srv", []),
        ("PLACE=/srv/site/media", []),
        ("HOST=/run", []),
    ],
)
def test_what_a_text_names(text: str, expected: list[str]) -> None:
    assert [*find_named([text], ["/srv/site/app.sock", "/run/gunicorn.sock"])] == expected
