"""Which servers run a site, by their command lines and services, where they listen, and what restarts each."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from releaser.serving import servers
from releaser.serving.restarts.gunicorn import Gunicorn
from releaser.serving.servers import (
    Server,
    environ_of_server,
    find_addresses,
    find_servers,
    find_units,
    kind_of,
    listening_sockets,
    unit_in,
)
from releaser.site.site import open_site
from releaser.system.files import write_state
from tests.support.commands import beside

VENV = "/srv/shop_stuff/shop/.venv/bin"
COMMANDS = {
    f"{VENV}/python -m gunicorn --workers 3 shop.wsgi": "gunicorn",
    f"{VENV}/python -X dev -W error {VENV}/gunicorn shop.wsgi": "gunicorn",
    f"{VENV}/python3.13 {VENV}/gunicorn shop.wsgi": "gunicorn",
    "/usr/bin/uwsgi-core --ini uwsgi.ini": "uWSGI",
    "/usr/bin/uwsgi --ini uwsgi.ini": "uWSGI",
    "/usr/bin/uwsgi_python3 --ini uwsgi.ini": "uWSGI",
    f"{VENV}/python {VENV}/granian --interface wsgi shop.wsgi": "Granian",
    f"{VENV}/python {VENV}/daphne shop.asgi:application": "Daphne",
    f"{VENV}/python -m uvicorn shop.asgi:application": "Uvicorn",
    f"{VENV}/python {VENV}/hypercorn shop.asgi:application": "Hypercorn",
    f"{VENV}/python /usr/share/passenger/helper-scripts/wsgi-loader.py": "Passenger",
    # As ps shows them for gunicorn 27, Granian, Daphne, Uvicorn, and uWSGI of Debian:
    ".venv/bin/python .venv/bin/gunicorn --bind unix:/run/shop.sock --workers 2 shop.wsgi": "gunicorn",
    ".venv/bin/python -m granian --interface wsgi --port 8732 shop.wsgi:application": "Granian",
    f"{VENV}/python .venv/bin/daphne -p 8733 shop.asgi:application": "Daphne",
    f"{VENV}/python .venv/bin/uvicorn --port 8734 --interface wsgi shop.wsgi:application": "Uvicorn",
    "uwsgi --plugin python3 --http-socket 127.0.0.1:8735 --master --processes 1": "uWSGI",
    f"{VENV}/python manage.py runserver": "",
    f"{VENV}/python -c gunicorn": "",
    f"{VENV}/python": "",
    "vi /etc/gunicorn.conf.py": "",
    "grep gunicorn": "",
}


@pytest.mark.parametrize(("command", "kind"), COMMANDS.items())
def test_a_server_is_known_by_its_command_line(command: str, kind: str) -> None:
    assert kind_of(tuple(command.split(" "))) == kind


def test_a_server_is_known_by_the_title_that_it_sets() -> None:
    titles = ("gunicorn: master [shop.wsgi]", "Passenger AppPreloader: /srv/shop_stuff/shop")
    assert [kind_of((title,)) for title in titles] == ["gunicorn", "Passenger"]


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/system.slice/shop.service\n", ("shop.service", False)),
        ("0::/system.slice/system-shop.slice/shop@eu.service\n", ("shop@eu.service", False)),
        ("12:pids:/system.slice/shop.service\n0::/system.slice/shop.service\n", ("shop.service", False)),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service\n", ("shop.service", True)),
        ("0::/system.slice/cron.service\n", ("", False)),
        ("0::/system.slice/apache2.service\n", ("", False)),
        ("0::/system.slice/supervisor.service\n", ("", False)),
        ("0::/system.slice/uwsgi.service\n", ("", False)),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ("", False)),
        ("0::/\n", ("", False)),
    ],
)
def test_the_service_of_a_process_is_read_from_its_control_group(cgroups: str, unit: tuple[str, bool]) -> None:
    assert unit_in(cgroups) == unit


@pytest.mark.parametrize(
    ("server", "remedy"),
    [
        (Server(pid=1, kind="gunicorn", command=(), unit="shop.service"), '["sudo", "systemctl", "restart", "shop.'),
        (
            Server(pid=1, kind="Daphne", command=(), unit="shop.service", is_user_unit=True),
            'restart = ["systemctl", "--user", "restart", "shop.service"]',
        ),
        (Server(pid=1, kind="gunicorn", command=("gunicorn",)), 'restart = "gunicorn"'),
        (Server(pid=1, kind="uWSGI", command=("uwsgi",)), "touch-reload = tmp/restart.txt"),
        (Server(pid=1, kind="uWSGI", command=("uwsgi", "--touch-reload", "run/r")), 'restart_file = "run/r"'),
        (Server(pid=1, kind="Passenger", command=()), "mkdir tmp"),
        (Server(pid=1, kind="Granian", command=()), '["sudo", "systemctl", "restart", "NAME.service"]'),
        (Server(pid=1, kind="Daphne", command=()), '["sudo", "systemctl", "restart", "NAME.service"]'),
    ],
)
def test_the_remedy_can_be_pasted(server: Server, remedy: str) -> None:
    assert remedy in server.remedy


def test_the_file_that_uwsgi_watches_is_read_from_its_options(tmp_path: Path) -> None:
    (tmp_path / "shop.ini").write_text("[uwsgi]\n; touch-reload = not/this\ntouch-reload = run/reload\n")
    words = ("uwsgi", "--ini", str(tmp_path / "shop.ini"))
    assert Server(pid=os.getpid(), kind="uWSGI", command=words).touch_reload == "run/reload"
    assert Server(pid=os.getpid(), kind="uWSGI", command=("uwsgi",)).touch_reload == ""


UNITS = {
    "shop.service": "[Service]\nWorkingDirectory=/srv/sites/shop\nExecStart=/usr/bin/gunicorn shop.wsgi\n",
    "shop-worker.service": "[Service]\nExecStart=-/srv/sites/shop/.venv/bin/python -m celery worker\n",
    "shop-clean.service": "[Service]\nType=oneshot\nWorkingDirectory=/srv/sites/shop\nExecStart=/bin/true\n",
    "releaser-shop-1.service": "[Service]\nExecStart=/opt/releaser update --project /srv/sites/shop\n",
    "shop2.service": "[Service]\nWorkingDirectory=/srv/sites/shop2\nExecStart=/usr/bin/gunicorn shop2.wsgi\n",
}


def test_enabled_services_that_start_programs_in_the_checkout_are_found(tmp_path: Path) -> None:
    wants = tmp_path / "multi-user.target.wants"
    wants.mkdir()
    for name, text in UNITS.items():
        (tmp_path / name).write_text(text)
        (wants / name).symlink_to(tmp_path / name)
    (tmp_path / "off.service").write_text(UNITS["shop.service"])
    (wants / "gone.service").symlink_to(tmp_path / "gone.service")
    assert find_units(Path("/srv/sites/shop"), [tmp_path]) == ("shop-worker.service", "shop.service")
    assert find_units(Path("/srv/sites"), [tmp_path / "none"]) == ()
    assert find_units(Path("/srv/sites/shop"), [tmp_path], must_serve=True) == ("shop-worker.service", "shop.service")
    (wants / "shop.service").unlink()
    assert find_units(Path("/srv/sites/shop"), [tmp_path]) == ("shop-worker.service",)
    assert find_units(Path("/srv/sites/shop"), [tmp_path], must_serve=True) == ()


@pytest.mark.parametrize(
    ("family", "address", "shown"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1:{}"),
        (socket.AF_INET, "0.0.0.0", "127.0.0.1:{}"),  # noqa: S104 - to be found under another name
        (socket.AF_INET6, "::1", "[::1]:{}"),
        (socket.AF_UNIX, "{}/served", "{}/served"),
    ],
)
def test_the_address_of_a_listening_socket_is_found(
    family: socket.AddressFamily, address: str, shown: str, tmp_path: Path
) -> None:
    with socket.socket(family) as server:
        try:
            server.bind(address.format(tmp_path) if family == socket.AF_UNIX else (address, 0))
        except OSError:
            pytest.skip(f"this host has no {address}")
        inode = str(os.fstat(server.fileno()).st_ino)
        assert inode not in listening_sockets()
        server.listen()
        place = tmp_path if family == socket.AF_UNIX else server.getsockname()[1]
        assert listening_sockets()[inode] == shown.format(place)


#: A stand-in for a server: it listens on two sockets, and its worker has only the first of them.
STAND_IN = """
import os, socket, sys, time
shared, control = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
ports = shared.getsockname()[1], control.getsockname()[1]
if not os.fork():
    control.close()
    print(*ports, flush=True)  # not earlier: then it still has both
time.sleep(60)
"""


def test_a_running_server_is_found_with_the_address_that_its_workers_share(tmp_path: Path) -> None:
    (tmp_path / "gunicorn").write_text(STAND_IN)
    words = [sys.executable, "gunicorn", "--workers", "2", "shop.wsgi"]
    with beside(words, cwd=tmp_path, env=os.environ) as process:
        assert process.stdout is not None
        shared, control = process.stdout.readline().split()
        (found,) = find_servers(tmp_path, tmp_path / ".venv")
        assert (found.kind, found.pid) == ("gunicorn", process.pid)
        assert find_addresses(tmp_path, tmp_path / ".venv") == (f"127.0.0.1:{shared}", f"127.0.0.1:{control}")
        assert find_servers(tmp_path / "other", tmp_path / "other" / ".venv") == ()
        os.killpg(process.pid, signal.SIGKILL)


def test_a_server_on_a_release_of_a_site_inside_this_one_is_not_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, state, venv = tmp_path / "shop", tmp_path / "state", tmp_path / "state" / "releases" / "1" / "venv"
    venv.mkdir(parents=True)
    (blog := shop / "blog").mkdir(parents=True)
    (blog / ".venv").symlink_to(venv)
    (blog / "gunicorn").write_text(STAND_IN)
    write_state(state / "project.json", {"root": "../shop/blog", "link": "../shop/blog/.venv"})
    with beside([sys.executable, str(blog / "gunicorn"), "blog.wsgi"], cwd=blog, env=os.environ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert [one.pid for one in find_servers(shop, shop / ".venv")] == [process.pid]
        monkeypatch.setattr(servers, "release_of", lambda pid: str(venv) if pid == process.pid else None)
        assert find_servers(shop, shop / ".venv") == ()
        assert [one.pid for one in find_servers(blog, blog / ".venv")] == [process.pid]
        os.killpg(process.pid, signal.SIGKILL)


def test_neither_the_command_nor_the_variables_of_a_stranger_are_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (script := tmp_path / "bin" / "gunicorn").parent.mkdir()
    script.write_text("print(flush=True); import time; time.sleep(60)")
    site, python = open_site(tmp_path, {}), str(tmp_path / ".venv" / "bin" / "python")
    words = [sys.executable, str(script), "-b0.0.0.0:80", "-w", "3", "--threads=2", "shop"]
    with beside(words, cwd=tmp_path, env={"PYTHONHASHSEED": "7"}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        own = ["--threads=2", "shop", "--bind", "unix:{socket}", "--workers", "1", "--pid", "{socket}.pid"]
        command = Gunicorn().command_on_socket(site)
        assert command is not None
        assert command.words == (python, "-m", "gunicorn.app.wsgiapp", *own)
        assert environ_of_server(site)["PYTHONHASHSEED"] == "7"
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert Gunicorn().command_on_socket(site) is None
        assert environ_of_server(site) == {}
        os.killpg(process.pid, signal.SIGKILL)
