"""The pages of the site."""

from __future__ import annotations

from django.urls import path

from teashop.views import front, health, versions

urlpatterns = [path("", front), path("health/", health), path("versions/", versions)]
