"""Which servers run a site, by their command lines and services, and what restarts each."""

import pytest

from releaser.serving.servers import Server, kind_of, unit_in

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
    f"{VENV}/python manage.py runserver": "",
    f"{VENV}/python -c gunicorn": "",
    f"{VENV}/python": "",
    "vi /etc/gunicorn.conf.py": "",
    "grep gunicorn": "",
}


@pytest.mark.parametrize(("command", "kind"), COMMANDS.items())
def test_a_server_is_known_by_its_command_line(command: str, kind: str) -> None:
    assert kind_of(tuple(command.split(" "))) == kind


@pytest.mark.parametrize(
    ("title", "kind"),
    [("gunicorn: master [shop.wsgi]", "gunicorn"), ("Passenger AppPreloader: /srv/shop_stuff/shop", "Passenger")],
)
def test_a_server_is_known_by_the_title_that_it_sets(title: str, kind: str) -> None:
    assert kind_of((title,)) == kind


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/system.slice/shop.service\n", ("shop.service", False)),
        ("0::/system.slice/system-shop.slice/shop@eu.service\n", ("shop@eu.service", False)),
        ("12:pids:/system.slice/shop.service\n0::/system.slice/shop.service\n", ("shop.service", False)),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service\n", ("shop.service", True)),
        ("0::/system.slice/cron.service\n", ("", False)),
        ("0::/system.slice/apache2.service\n", ("", False)),
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
        (Server(pid=1, kind="gunicorn", command=("gunicorn", "--pid", "run/g.pid")), "kill -HUP $(cat run/g.pid)"),
        (Server(pid=1, kind="gunicorn", command=("gunicorn", "--pid=run/g.pid")), "kill -HUP $(cat run/g.pid)"),
        (Server(pid=1, kind="uWSGI", command=("uwsgi",)), "touch-reload = tmp/restart.txt"),
        (Server(pid=1, kind="uWSGI", command=("uwsgi", "--touch-reload", "run/r")), 'restart_file = "run/r"'),
        (Server(pid=1, kind="Passenger", command=()), "mkdir tmp"),
        (Server(pid=1, kind="Granian", command=()), '["sudo", "systemctl", "restart", "NAME.service"]'),
        (Server(pid=1, kind="Daphne", command=()), '["sudo", "systemctl", "restart", "NAME.service"]'),
    ],
)
def test_the_remedy_can_be_pasted(server: Server, remedy: str) -> None:
    assert remedy in server.remedy
