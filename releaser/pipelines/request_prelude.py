"""Before an update, carries out the requests that wait for a site. Most sites take none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from releaser.errors import ExitCode, Interrupted, ReleaserError
from releaser.site.request_settings import request_directory
from releaser.site.site import find_site

if TYPE_CHECKING:
    from releaser.pipelines.session import Request

logger = logging.getLogger(__name__)


def carry_out_before_update(request: Request) -> None:
    """Carry out waiting requests before an update; their failures do not stop it. Raises Interrupted."""
    try:
        if request_directory(find_site(request.path, request.environ)) is None:
            return
        from releaser.pipelines.requests import carry_out_requests

        found = carry_out_requests(request)
    except (ReleaserError, OSError) as error:  # the status and `check` say why
        logger.info("no requests are carried out: %s", error)
        return
    for one in found:
        if one.report is not None and one.report.exit_code > ExitCode.SIGNALLED:
            raise Interrupted(one.report.exit_code - ExitCode.SIGNALLED)
