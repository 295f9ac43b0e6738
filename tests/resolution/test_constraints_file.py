"""A file of constraints: what of it bounds versions, and what is refused."""

from pathlib import Path

import pytest

from releaser.errors import PreflightError
from releaser.locks.rules import Limit
from releaser.resolution.rules import read_limits
from releaser.site.site import Site, open_site
from tests.site.fakes import with_settings

TEXT = """\
# the beginning
Django_Rest<5  # as the shop needs that
old==1 ; python_version < "3"

django-rest >= 4.1
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    root = tmp_path / "outer" / "site"
    root.mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "site"\n', encoding="utf-8")
    return open_site(root, {})


def with_file(site: Site, text: str, name: str = "limits.txt") -> Site:
    (site.project.root / "limits.txt").write_text(text, encoding="utf-8")
    return with_settings(site, constraints=name)


def test_several_lines_of_a_package_hold_together_and_markers_count(site: Site) -> None:
    both = Limit(specifier="<5,>=4.1", source="limits.txt:2, limits.txt:5")
    assert read_limits(with_file(site, TEXT), python="3.12.1") == {"django-rest": both}
    assert read_limits(with_file(site, TEXT, str(site.project.root / "limits.txt")))["old"].specifier == "==1"
    assert read_limits(site) == {}


@pytest.mark.parametrize(
    "line", ["django", "-r more.txt", "a[b]<2", "a @ https://example.org/a.whl", "a<2 --hash=x", "a<<2"]
)
def test_what_is_no_constraint_is_refused_by_its_line(site: Site, line: str) -> None:
    with pytest.raises(PreflightError) as refused:
        read_limits(with_file(site, f"ok<2\n{line}\n{line}\n"))
    assert [one.message.partition(": ")[0] for one in refused.value.findings] == ["limits.txt:2", "limits.txt:3"]


def test_a_file_that_is_elsewhere_gone_or_everybodys_is_refused(site: Site) -> None:
    for name, message in (("../limits.txt", "outside the project"), ("gone.txt", "cannot be read")):
        with pytest.raises(PreflightError, match=message):
            read_limits(with_file(site, "a<2", name))
    open_to_all = with_file(site, "a<2")
    (site.project.root / "limits.txt").chmod(0o666)
    with pytest.raises(PreflightError, match="all users can write to"):
        read_limits(open_to_all)
