"""No secret gets into the file of `releaser doctor`, from any place, even on a broken site."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.test_secrets import FORMS, IN_URL, LINES, NAMED, OUTER, OWN, PEM
from tests.attacks.test_secrets import site as site_with_secrets
from tests.e2e.scenes import edit_pyproject
from tests.support.sites import SampleSite

site = site_with_secrets
# Each secret once more, by the way in which it comes in.
IN_ENVIRONMENT = {
    "RELEASER_SMTP_PASSWORD": "env-smtp-s3cret", "UV_INDEX_SHOP_PASSWORD": "env-index-s3cret",
    "SHOP_DB_PASSWORD": "env-db-s3cret", "AWS_SECRET_ACCESS_KEY": "env-aws/s3cret+key",
    "GIT_CONFIG_VALUE_0": "Authorization: Basic ZW52LWdpdC1zM2NyZXQ=", "GITHUB_TOKEN": "ghp_envs3cret",
    "RELEASER_PING_URL": "https://ping.example.org/3nv-p1ng-t0ken", "UV_DEFAULT_INDEX": "https://ada:env-pw-s3cret@pypi.example.org/",
    "OTHER_URL": "redis://:env-redis-s3cret@cache/0",
}  # fmt: skip
SECRETS = (
    OUTER, OWN, NAMED, IN_URL, *LINES, "p4ss%2F", "w'rd", "0uter", "env-smtp-s3cret", "env-index-s3cret",
    "env-db-s3cret", "env-aws/s3cret+key", "ZW52LWdpdC1zM2NyZXQ=", "ghp_envs3cret", "3nv-p1ng-t0ken", "env-pw-s3cret",
    "env-redis-s3cret", "file-smtp-s3cret", "w3bhook-t0ken", "sl4ck-t0ken-A", "remote-s3cret", "index-s3cret",
    "typo-s3cret",
)  # fmt: skip
SETTINGS = """\
webhook = "https://hooks.example.org/w3bhook-t0ken"
notify = ["slack://sl4ck-t0ken-A/B12345678/C12345678"]
"""
# One harm after the other; the first is none.
HARMS: tuple[Callable[[SampleSite], object], ...] = (
    SampleSite.head,
    lambda site: (site.state_dir / "journal.json").write_text(OUTER, "utf-8"),
    lambda site: site.link.unlink(),
    lambda site: site.edit("pyproject.toml", "[["),
    lambda site: (site.path / "pyproject.toml").unlink(),
)


@pytest.mark.slow
def test_no_secret_is_in_the_file_of_the_doctor(site: SampleSite, tmp_path: Path) -> None:
    site.push_commit(f"Write {OWN} where all can see it", {"run_tests.py": FORMS % 1})
    site.publish("alpha", "1.2.0")
    site.releaser("update", env={"RELEASER_CULPRITS": "off"}, check=5)
    table = edit_pyproject(site, "[tool.uv]", f"[tool.releaser]\n{SETTINGS}\n[tool.uv]")
    site.edit(
        "pyproject.toml", f'{table}\n[[tool.uv.index]]\nurl = "https://ada:index-s3cret@pypi.example.org/simple"\n'
    )
    site.git("remote", "set-url", "--push", "origin", "https://ada:remote-s3cret@git.example.org/shop.git")
    (site.outer / "password").write_text("file-smtp-s3cret\n", encoding="utf-8")
    with (site.outer / ".env").open("a", encoding="utf-8") as dotenv:
        dotenv.write("RELEASER_SMTP_PASSWORD_FILE=../password\nRELEASER_SMPT_PASSWORD=typo-s3cret\n")
    # As if another program had written it: what releaser writes is masked at once.
    lines = [OUTER, OWN, NAMED, IN_URL, PEM, "file-smtp-s3cret", *IN_ENVIRONMENT.values()]
    (site.state_dir / "logs" / "20990101T000000Z-1.log").write_text("\n".join(lines), encoding="utf-8")
    for number, harm in enumerate(HARMS):
        harm(site)
        file = tmp_path / f"doctor-{number}.txt"
        said = site.releaser("doctor", "--output", file, "-v", env=IN_ENVIRONMENT, check=0)
        text = file.read_text(encoding="utf-8") + said.stdout + said.stderr
        assert "the last of the leaks: ***, but sunshines are no secret" in text
        assert "GITHUB_TOKEN" in text  # the name of the variable, and not its value
        assert [secret for secret in (*SECRETS, PEM) if secret in text] == [], number
