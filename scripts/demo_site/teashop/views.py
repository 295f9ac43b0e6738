"""What the pages show."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import asgiref
import django
import pricetag
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render

if TYPE_CHECKING:
    from django.http import HttpRequest


def front(request: HttpRequest) -> HttpResponse:
    """Show the tea and its price."""
    context = {"tea": "Darjeeling", "price": pricetag.tag(1250), "django": django.get_version()}
    return render(request, "teashop/front.html", context)


def health(_request: HttpRequest) -> HttpResponse:
    """Say that all is well. No test covers this page."""
    return HttpResponse("well" if pricetag.cents(pricetag.tag(1250)) == 1250 else "unwell")


def versions(request: HttpRequest) -> HttpResponse:
    """Tell which versions this process has loaded; one package is imported late, when somebody asks for it."""
    packages = {"django": django.__version__, "asgiref": asgiref.__version__}
    if "gunicorn" in sys.modules:  # it belongs to the process that this one was forked from
        packages["gunicorn"] = sys.modules["gunicorn"].__version__
    if "late" in request.GET:
        import markdown

        packages["markdown"] = markdown.__version__
    return JsonResponse({"packages": packages, "process": os.getpid(), "prefix": sys.prefix})
