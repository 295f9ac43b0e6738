"""The setting `sources`: wheels of directories and of S3, which boto3 itself asks, with moto in the place of Amazon."""

import json
import logging
import re
import shutil
import socket
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.e2e.scenes import changes, refused, says, silent
from tests.support.commands import HOUSE, uv_executable
from tests.support.index import serve_index
from tests.support.sites import SampleSite, SiteFactory, SiteOptions
from tests.support.wheels import build_sdist, build_wheel

KEYS = {"AWS_ACCESS_KEY": "key", "AWS_SECRET_KEY": "secret", "EC2_REGION": "eu-central-1"}


class Bucket:
    """The bucket `wheels` of a server that answers as S3 does."""

    def __init__(self, url: str) -> None:
        words = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        self.client: Any = boto3.client("s3", endpoint_url=url, **words)
        self.client.create_bucket(Bucket="wheels")
        self.dotenv = {**KEYS, "AWS_ENDPOINT_URL": url}

    def put(self, prefix: str, file: Path) -> None:
        """Upload a file."""
        self.client.put_object(Bucket="wheels", Key=f"{prefix}/{file.name}", Body=file.read_bytes())

    def delete(self, key: str) -> None:
        """Delete a file."""
        self.client.delete_object(Bucket="wheels", Key=key)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    """An empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        # All servers of a process have the same buckets.
        urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
        bucket = Bucket(f"http://{host}:{port}")
        bucket.client.head_bucket(Bucket="wheels")
        yield bucket
    finally:
        server.stop()


def make_sourced_site(make_site: SiteFactory, dotenv: dict[str, str | None], *sources: str) -> SampleSite:
    """Make a live site whose next commit needs the package `hello`, which no index has."""
    site = make_site.live(dotenv=dotenv)
    text = (site.path / "pyproject.toml").read_text("utf-8")
    text = text.replace('"beta"]', '"beta", "hello"]')
    site.push_from_elsewhere({"pyproject.toml": f"{text}\n[tool.releaser]\nsources = {list(sources)}\n"})
    return site


@pytest.mark.slow
def test_law_32_42_wheels_come_from_s3_and_from_directories(
    make_site: SiteFactory, bucket: Bucket, tmp_path: Path
) -> None:
    for number in range(1010):  # more than a page
        bucket.client.put_object(Bucket="wheels", Key=f"apps/{number}.txt", Body=b"")
    away, shelf = tmp_path / "away", tmp_path / "outer" / "shelf"
    away.mkdir()
    for version in ("1.0", "1.0+local.1"):
        bucket.put("apps", build_wheel(away, "hello", version))
    bucket.put("apps2", build_wheel(away, "hello", "7.0"))  # a neighbour
    bucket.put("apps/deeper", build_wheel(away, "hello", "8.0"))
    bucket.put("apps", build_sdist(away, "hello", "9.0", ""))
    site = make_sourced_site(make_site, dict(bucket.dotenv), "s3://wheels/apps", "../shelf")
    says(refused(site, "update"), "`../shelf`, which is no directory")
    shelf.mkdir()
    preview = site.json("update", "--dry-run")
    answer = site.json("update")
    assert changes(preview) == changes(answer) == {"hello": (None, "1.0+local.1")}
    assert any("takes whole wheels alone, so not s3://wheels/apps/hello-9.0.tar.gz" in note for note in answer["notes"])
    assert site.git("status", "--short") == ""
    assert 'registry = ".releaser-sources"' in site.lock()
    assert str(tmp_path) not in site.lock()
    silent(site.releaser("update"))
    says(site.releaser("update", "--dry-run", check=0), "up to date")
    # A colleague has the wheels in a directory of this name; a bundle has them in itself.
    clone = site.elsewhere()
    shutil.copytree(site.state / "sources", clone / ".releaser-sources")
    site.uv("sync", "--quiet", "--frozen", cwd=clone)
    site.releaser("bundle create", "-o", tmp_path / "shop.bundle", check=0)
    with zipfile.ZipFile(tmp_path / "shop.bundle") as bundle:
        assert "wheels/hello-1.0+local.1-py3-none-any.whl" in bundle.namelist()
    whole = build_wheel(shelf, "hello", "1.1").read_bytes()
    (shelf / "hello-1.1-py3-none-any.whl").write_bytes(whole[:-30])  # it is being uploaded
    (shelf / "hello-1.2-py3-none-any.whl").symlink_to("nothing")
    says(site.releaser("update", "-v", check=0), "whole wheels alone, so not ../shelf/hello-1.1-py3-none-any.whl")
    (shelf / "hello-1.1-py3-none-any.whl").write_bytes(whole)
    assert changes(site.json("update")) == {"hello": ("1.0+local.1", "1.1")}
    for key in ("apps/hello-1.0-py3-none-any.whl", "apps/hello-1.0+local.1-py3-none-any.whl"):
        bucket.delete(key)
    wheel = build_wheel(shelf, "hello", "1.1", modules={"hello/__init__.py": "__version__ = 'other'"})
    says(site.releaser("update", "-v", check=0), f"{wheel.name} of `../shelf` is another file than before", "rm ")
    # What an earlier release has stays, as long as that does.
    assert {path.name for path in (site.state / "sources").glob("*.whl")} == {
        "hello-1.0+local.1-py3-none-any.whl",
        wheel.name,
    }


@pytest.mark.slow
def test_law_42_a_source_that_does_not_answer_delays_nothing(
    make_site: SiteFactory, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("apps", build_wheel(tmp_path, "hello", "1.0"))
    site = make_sourced_site(make_site, dict(bucket.dotenv), "s3://wheels/apps")
    site.releaser("update", check=0)
    bucket.put("apps", build_wheel(tmp_path, "hello", "1.1"))
    site.publish("alpha", "1.1.0")
    with socket.create_server(("127.0.0.1", 0)) as silence:
        url = f"http://127.0.0.1:{silence.getsockname()[1]}"
        site.write_dotenv({**bucket.dotenv, "AWS_ENDPOINT_URL": url})
        answer = site.json("update")
    assert changes(answer) == {"alpha": ("1.0.0", "1.1.0")}
    assert any("`s3://wheels/apps` was not copied: " in note and "earlier are used" in note for note in answer["notes"])
    assert sum(step["seconds"] for step in answer["steps"] if step["step"] == "fetch") < 30
    site.write_dotenv(bucket.dotenv)
    assert changes(site.json("update")) == {"hello": ("1.0", "1.1")}


@pytest.mark.slow
def test_law_38_a_package_of_a_source_comes_from_no_index_by_the_lines_of_the_guide(make_site: SiteFactory) -> None:
    guide = (HOUSE / "docs/sources.md").read_text("utf-8")
    toml, lines = re.findall(r"^```(?:toml|sh)\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    site = make_site()
    shelf = site.outer / "wheels"
    shelf.mkdir()
    build_wheel(shelf, "hello", "1.0")
    site.publish("hello", "9.0")
    toml = re.sub("sources = .*", f"sources = {json.dumps([str(shelf)])}", toml)
    with serve_index(site.outer) as served:
        own = SiteOptions(packages=dict.fromkeys(("alpha", "beta", "hello"), "1")).pyproject()
        own = own.replace('no-index = true\nfind-links = ["../index"]\n', "")
        index = f'[[tool.uv.index]]\nname = "other"\nurl = "{served.server}/index/simple"\ndefault = true\n'
        site.edit("pyproject.toml", f"{own}\n{toml}\n{index}")
        lines = lines.replace("/srv/wheels", str(shelf)).replace("uv sync", "uv sync --dry-run")
        site.env["PATH"] = f"{uv_executable().parent}:{site.env['PATH']}"
        site.run("sh", "-euc", lines)
        site.commit("Wheels of a source")
        site.push()
        site.releaser("init", check=0)
        assert site.version("hello") == "1.0"
        build_wheel(shelf, "hello", "1.1")
        site.releaser("update", check=0)
        assert (site.version("hello"), site.status()) == ("1.1", "")
        assert str(site.base) not in site.lock().replace(served.server, "")
