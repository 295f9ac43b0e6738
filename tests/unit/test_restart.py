"""Tables of the ways to restart."""

from types import ModuleType

import pytest

from releaser.live.restart import command, find_way, gunicorn, passenger, systemd, touch
from releaser.live.restart.systemd import list_units

WAYS = {
    ("auto",): touch,
    ("passenger",): passenger,
    ("passenger", "start"): command,
    ("systemd:shop",): systemd,
    ("systemd:shop,", "worker.service"): systemd,
    ("gunicorn:../gunicorn.pid",): gunicorn,
    ("gunicorn", "--reload"): command,
    ("sudo", "-n", "systemctl", "restart", "shop"): command,
    ("/srv/auto",): command,
}
UNITS = {
    ("systemd:shop",): ["shop.service"],
    ("systemd:shop.socket,shop",): ["shop.socket", "shop.service"],
    ("systemd:shop,", "worker@1"): ["shop.service", "worker@1.service"],
    ("systemd:shop", "worker"): ["shop.service", "worker.service"],
}


@pytest.mark.parametrize("words", WAYS)
def test_a_setting_has_a_way(words: tuple[str, ...]) -> None:
    found: object = find_way(words)
    assert isinstance(found, ModuleType)
    assert found is WAYS[words]


@pytest.mark.parametrize("words", UNITS)
def test_units_have_their_type(words: tuple[str, ...]) -> None:
    assert list_units(words) == UNITS[words]
