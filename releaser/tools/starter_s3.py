"""Downloads packages from S3 for the first start of a starter, into which `releaser bootstrap` writes this text.

It runs with Python 3.8 and boto3 alone: `starter_s3.py DIRECTORY SOURCE...`. Each source gets a directory, with a note
of its files as `s3_mirror.py` writes it, so that releaser downloads none of them again.
"""

import hashlib
import json
import os
import re
import sys
import time
from typing import Any, Dict, Tuple

# Older names of variables, by the name that boto3 knows
_OLDER = {
    "AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY": "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN": "AWS_SECURITY_TOKEN",
    "AWS_DEFAULT_REGION": "EC2_REGION",
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]*\.(whl|tar\.gz|zip)", re.ASCII)
_NOTE, _PART = ".mirror.json", ".part-start"


def _mirror(client: Any, source: str, top: str) -> None:
    """Download the packages of a source that are new, and delete those that it no longer has."""
    bucket, _, prefix = source[len("s3://") :].partition("/")
    place, prefix = os.path.join(top, bucket, prefix), f"{prefix}/" if prefix else ""
    os.makedirs(place, exist_ok=True)
    known, synced = _read_note(place)
    found: "Dict[str, Any]" = {}
    try:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        listed = {one["Key"][len(prefix) :]: one for page in pages for one in page.get("Contents", ())}
        for name in filter(_NAME.fullmatch, listed):
            entry = {"etag": listed[name]["ETag"], "size": listed[name]["Size"]}
            if not (name in known and {**known[name], **entry} == known[name]) or not os.path.exists(f"{place}/{name}"):
                body = client.get_object(Bucket=bucket, Key=prefix + name, IfMatch=entry["etag"])["Body"]
                known[name] = {**entry, **_write(body, place, name)}
            found[name] = known[name]
        if not found:
            raise ValueError("it has no wheels and no source archives")
        synced = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        for name in known.keys() - found.keys():
            if os.path.exists(f"{place}/{name}"):
                os.unlink(f"{place}/{name}")
        known = found
    except Exception as error:  # noqa: BLE001 - whatever fails, the application can start with an earlier download
        if not synced:
            sys.exit(f"{source}: {error}")
        text = " ".join(str(error).split())
        print(f"{source}: {text}; the packages that an earlier start downloaded are used", file=sys.stderr)
    finally:  # a download before an error counts, too
        with open(f"{place}/{_PART}", "w", encoding="utf-8") as file:
            json.dump({"synced": synced, "files": known}, file, indent=1, sort_keys=True)
        os.replace(f"{place}/{_PART}", f"{place}/{_NOTE}")


def _read_note(place: str) -> "Tuple[Dict[str, Any], Any]":
    """Return the files that an earlier start or releaser downloaded, and when it had all of them."""
    try:
        with open(f"{place}/{_NOTE}", encoding="utf-8") as file:
            note = json.load(file)
        return {name: dict(one) for name, one in note["files"].items() if _NAME.fullmatch(name)}, note["synced"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}, None


def _write(body: Any, place: str, name: str) -> "Dict[str, Any]":
    """Write a file that is complete or missing, and return the rest of its entry in the note."""
    digest = hashlib.sha256()
    with open(f"{place}/{_PART}", "wb") as file:
        for chunk in body.iter_chunks(65536):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{place}/{_PART}", f"{place}/{name}")
    return {"sha256": digest.hexdigest(), "mtime_ns": os.stat(f"{place}/{name}").st_mtime_ns}


def main() -> None:
    """Mirror all sources; end with a message and exit status 1 after an error."""
    for name, older in _OLDER.items():
        if os.environ.get(older):
            os.environ.setdefault(name, os.environ[older])
    import boto3
    from botocore.config import Config

    retries = {"mode": "standard", "max_attempts": 3}
    client = boto3.client("s3", config=Config(connect_timeout=5, read_timeout=15, retries=retries))
    for source in sys.argv[2:]:
        try:
            _mirror(client, source, sys.argv[1])
        except OSError as error:  # such as a full disk, while the note is written
            sys.exit(f"{source}: {error}")


if __name__ == "__main__":
    main()
