"""The site's settings."""

INSTALLED_APPS = ["django.contrib.staticfiles"]
STATIC_ROOT = "static_out"
