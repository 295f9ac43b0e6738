"""The least that a site with a page, a template and static files needs."""

from __future__ import annotations

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("SECRET_KEY", "this site is for show")
ALLOWED_HOSTS = ["tea.example.org", "testserver", "localhost", "127.0.0.1"]
INSTALLED_APPS = ["django.contrib.staticfiles", "teashop"]
ROOT_URLCONF = "teashop.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static_root"
