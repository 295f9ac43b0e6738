"""Connects to S3."""

from __future__ import annotations

import os
from typing import Any

AT_ONCE = 8  # downloads
# Older names of variables, by the name that boto3 knows.
_OLDER = {
    "AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY": "AWS_SECRET_KEY",
    "AWS_DEFAULT_REGION": "EC2_REGION",
}


def connect() -> Any:
    """Return a client for S3, with the credentials that boto3 finds."""
    for name, older in _OLDER.items():
        if not os.environ.get(name) and os.environ.get(older):
            os.environ[name] = os.environ[older]
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=5, read_timeout=15, retries={"mode": "standard", "max_attempts": 3},
        max_pool_connections=AT_ONCE, user_agent_extra="releaser",
    )  # fmt: skip
    return boto3.client("s3", config=config)
