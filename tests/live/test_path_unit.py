"""The documented units that restart a service when the restart file is touched, under a real systemd."""

import re
from pathlib import Path

import pytest

from releaser.serving.restarts.touch import touch
from tests.e2e.scenes import eventually
from tests.support.systemd import running_systemd

pytestmark = pytest.mark.slow

SERVICE = """\
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'v=$$(cat {place}/version); echo $$v >{place}/begun; until [ -e {place}/go ]; do sleep 0.1; done; \
echo $$v >{place}/serving; systemd-notify --ready; sleep 600'
"""


def test_a_rollback_while_the_server_starts_restarts_it_once_more(tmp_path: Path) -> None:
    guide = Path("docs/guides/web-servers.md").read_text(encoding="utf-8").partition("`shop-restart.path` and")[2]
    path, service = (
        text.replace("/srv/shop_stuff/shop", str(tmp_path)) for text in re.findall(r"(?s)```ini\n(.*?)```", guide)[:2]
    )
    (tmp_path / "tmp").mkdir()

    def release(version: str) -> None:
        (tmp_path / "version").write_text(version)
        touch(tmp_path / "tmp" / "restart.txt", tmp_path)

    def reads(name: str) -> str:
        file = tmp_path / name
        return file.read_text().strip() if file.exists() else ""

    with running_systemd() as systemd:
        units = {"shop-restart.path": path, "shop-restart.service": service}
        systemd.add({"shop.service": SERVICE.format(place=tmp_path), **units})
        systemd.run("systemctl", "start", "shop-restart.path")
        release("2")
        eventually(lambda: reads("begun") == "2", "the start of the server")
        release("1")
        (tmp_path / "go").touch()
        eventually(lambda: reads("serving") == "1", "the server on the earlier release")
