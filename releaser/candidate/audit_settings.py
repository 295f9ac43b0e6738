"""Settings: Known vulnerabilities."""

from typing import Literal

from releaser.site.declaring import Part
from releaser.site.values import Ids, Limit

OFF = "the setting `vulnerability_service` is `none`"


class AuditSettings(Part):
    """Known vulnerabilities."""

    #: How long to wait for the answer of the service for known vulnerabilities.
    audit_timeout: Limit = 20.0
    #: The ids of vulnerabilities that you accept.
    audit_ignore: Ids = ()
    #: `early` installs fixes of known vulnerabilities early; `normal` applies the usual rules to fixes, too.
    security_fixes: Literal["early", "normal"] = "early"
