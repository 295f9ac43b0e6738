"""Which modules the code of a project names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.project.imports import modules_used

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
import os, yaml.nodes as nodes
from django.db import models
from . import sibling
from .inner import thing
INSTALLED_APPS = ["rest_framework.apps", "two words", ""]

def late():
    import redis
"""


def test_imports_and_names_in_texts_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "old.py").write_text("print 'Python 2'\nimport six\n", encoding="utf-8")
    (tmp_path / "data.txt").write_text("import flask\n", encoding="utf-8")
    (tmp_path / "link.py").symlink_to(tmp_path / "app.py")
    found = modules_used(tmp_path, ["app.py", "old.py", "data.txt", "link.py", "gone.py"])
    assert found.imported == {"os", "yaml", "django", "redis"}
    assert found.mentioned == {"rest_framework"}


def test_code_that_python_warns_of_is_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import six\nx = '\\d'\n", encoding="utf-8")
    assert modules_used(tmp_path, ["app.py"]).imported == {"six"}
