"""A package from git over ssh is built in the sandbox of a plain user, too, who sees files of root as nobody's."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.attacks.people import OWNER
from tests.e2e.refusals import script
from tests.e2e.scenes import edit_pyproject
from tests.e2e.test_group_use import base_python, script_of
from tests.support.commands import run, uv_executable
from tests.support.guards import require
from tests.support.wheels import build_sdist

if TYPE_CHECKING:
    from tests.attacks.people import People
    from tests.support.sites import SampleSite

GIT = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-C")
# It reads what the system sets, as ssh does each time, and then runs here what it was to run elsewhere.
SSH = 'ssh -G nowhere >/dev/null || exit 255\nfor last; do :; done\nexec sh -c "$last"'
WITH_SETTINGS_OF_THE_SYSTEM = """\
mount -t tmpfs none /etc/ssh/ssh_config.d && chmod 755 /etc/ssh/ssh_config.d && umask 022
echo 'Host nowhere' >/etc/ssh/ssh_config.d/20-system.conf && exec "$@"
"""


def test_a_package_from_git_over_ssh_is_built_in_the_sandbox(people: People, owned: SampleSite) -> None:
    place = Path("/etc/ssh/ssh_config.d")
    require(shutil.which("ssh") and shutil.which("bwrap") and place.is_dir(), "ssh and bubblewrap are needed")
    with tarfile.open(build_sdist(people.base, "theme", "1.0", mark=Path("/dev/null"))) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2 has none
        archive.extractall(people.base)  # noqa: S202 - our own
    repository = people.base / "theme-1.0"
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Begin"]):
        run([*GIT, repository, *words], cwd=people.base, env=owned.env, check=0)
    ssh = script(people.base / "ssh", SSH)
    env = {**people.environment(OWNER, owned), "GIT_SSH_COMMAND": str(ssh), "RELEASER_ISOLATE": "bwrap"}
    source = f'\n[tool.uv.sources]\ntheme = {{ git = "ssh://git@localhost{repository}" }}\n'
    text = edit_pyproject(owned, '"alpha"', '"alpha", "theme"') + source
    (owned.path / "pyproject.toml").write_text(text, encoding="utf-8")
    people.run_as(OWNER, uv_executable(), "lock", "--directory", owned.path, env=env, check=0)
    people.run_as(OWNER, *GIT, owned.path, "commit", "--quiet", "-am", "Use it", env=env, check=0)
    become = ["setpriv", f"--reuid={OWNER}", f"--regid={people.of(OWNER).pw_gid}", "--init-groups"]
    update: list[str | Path] = [base_python(), script_of(owned), "update", "--project", owned.path]
    prefix = ["unshare", "--mount", "sh", "-c", WITH_SETTINGS_OF_THE_SYSTEM, "sh", *become]
    run([*prefix, *update], cwd=Path("/"), env=env, check=0)
    assert owned.live_version("theme") == "1.0"
