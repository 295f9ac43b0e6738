"""Packages from S3: updates take them, do without S3 when it is away, and refuse a file that has been replaced."""

from pathlib import Path

from tests.support.s3 import SECRET, s3_server
from tests.support.sites import SiteFactory
from tests.support.wheels import LocalIndex

MIRROR = ".s3/wheels/python"


def test_a_project_gets_its_first_lock_from_s3(make_site: SiteFactory, tmp_path: Path) -> None:
    """Its packages are only in S3, and the mirror is empty."""
    site = make_site()
    with s3_server(tmp_path) as s3:
        site.env |= s3.env
        s3.put("wheels")
        for wheel in site.index.path.glob("*.whl"):
            s3.put(f"wheels/python/{wheel.name}", wheel.read_bytes())
            wheel.unlink()
        text = (site.path / "pyproject.toml").read_text().replace('["../index"]', f'["{MIRROR}"]')
        settings = '\n[tool.releaser]\nsources = ["s3://wheels/python"]\n'
        site.git("rm", "--quiet", "uv.lock")
        site.commit("Take packages from S3", {"pyproject.toml": text + settings})
        site.push()
        refused = site.releaser("init", check=3)
        assert "releaser init --from-pyproject" in refused.stderr
        would = str(site.json("init", "--from-pyproject", "--dry-run")["would"])
        assert "alpha 1.0.0" in would
        assert [one for one in (".s3", "uv.lock", ".venv") if (site.path / one).exists()] == []

        s3.mood = "refuses"
        refused = site.releaser("init", "--from-pyproject", check=4)
        assert "has not been mirrored completely yet" in refused.stderr
        s3.mood = "is well"
        site.releaser("init", "--from-pyproject", check=0)
        assert site.live_version("alpha") == "1.0.0"
        assert f'registry = "{MIRROR}"' in site.lock_text()
        assert site.git("show", "--format=", "--name-only", "HEAD") == "uv.lock"
        site.uv("lock", "--check")
        assert site.git("status", "--porcelain") == ""
        assert site.releaser("init", "--from-pyproject", check=3).stderr.count("already has a lock") == 1


def test_a_site_takes_packages_from_s3(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted()
    offered = LocalIndex(tmp_path / "offered")
    with s3_server(tmp_path) as s3:
        site.env |= s3.env

        def offer(version: str, text: str = "") -> None:
            modules = {"alpha/__init__.py": f'__version__ = "{version}"\n{text}'}
            wheel = offered.publish("alpha", version, modules=modules)
            s3.put(f"wheels/python/{wheel.name}", wheel.read_bytes())

        s3.put("wheels")
        offer("1.1.0")
        text = (site.path / "pyproject.toml").read_text().replace('["../index"]', f'["../index", "{MIRROR}"]')
        settings = '\n[tool.releaser]\nsources = ["s3://wheels/python"]\n'
        site.push_commit("Take packages from S3", {"pyproject.toml": text + settings})

        other = f"alpha 1.1.0 now comes from {MIRROR} (before: ../index)"
        assert other in str(site.json("update", "--dry-run")["would"])
        assert not (site.path / ".s3").exists()
        refused = site.releaser("update", check=4)
        assert other in refused.stderr + refused.stdout
        site.releaser("accept", "alpha", check=0)

        report = site.releaser("update", check=0)
        assert site.live_version("alpha") == "1.1.0"
        assert SECRET not in report.stdout + report.stderr
        assert f'registry = "{MIRROR}"' in site.lock_text()
        site.uv("lock", "--check")  # as anybody does in the checkout
        assert site.git("status", "--porcelain") == ""

        s3.mood = "fails"
        steps = site.json("update", "--force")["steps"]
        (told,) = [one["detail"] for one in steps if one["step"] == "sources"]
        assert "InternalError" in told
        assert "its mirror from " in told

        s3.mood = "is well"
        offer("1.1.0", "HARMLESS = False\n")
        live = site.live_id()
        refused = site.releaser("update", check=4)
        assert "alpha-1.1.0-py3-none-any.whl of alpha 1.1.0 is a different file now" in refused.stderr + refused.stdout
        assert site.live_id() == live
        site.releaser("accept", "alpha", check=0)
        site.releaser("rebuild", check=0)
        assert site.python("import alpha; print(alpha.HARMLESS)") == "False"
