"""What the pages show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django
import pricetag
from django.shortcuts import render

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


def front(request: HttpRequest) -> HttpResponse:
    """Show the tea and its price."""
    context = {"tea": "Darjeeling", "price": pricetag.tag(1250), "django": django.get_version()}
    return render(request, "teashop/front.html", context)
