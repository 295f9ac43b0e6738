"""The site as web servers call it."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "teashop.settings")
application = get_wsgi_application()
