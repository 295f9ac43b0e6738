"""Settings: Known vulnerabilities."""

from typing import Literal

from releaser.site.declaring import Part
from releaser.site.values import Ids, Limit


class AuditSettings(Part):
    """Known vulnerabilities."""

    #: How long to wait for the whole answer of that service.
    audit_timeout: Limit = 20.0
    #: The ids of vulnerabilities that the site can live with.
    audit_ignore: Ids = ()
    #: Whether fixes of known vulnerabilities come in early, or by the same rules as all else.
    security_fixes: Literal["early", "normal"] = "early"
