"""The commands about channels: signed pointers to bundles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from releaser.cli.command import NonEmptyPath, command
from releaser.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.bundles.pointer import ChannelDetails
    from releaser.cli.command import CommandContext
    from releaser.pipelines.channel import Publisher

_FILE = NonEmptyPath(path_type=Path, dir_okay=False)
_PLACE = "Where the channel is: a directory, or a URL that begins with s3: or https:."
_signers = click.option(
    "--signers", type=_FILE, help="Whom to trust: an allowed_signers file. Default: bundle_signers."
)
_at = click.option("--at", "where", metavar="PLACE", required=True, help=_PLACE)


def _moves(function: Callable[..., None]) -> Callable[..., None]:
    sign = click.option(
        "--sign", "key", type=_FILE, metavar="KEY", required=True, help="Sign it with this OpenSSH key."
    )
    expires = click.option(
        "--expires", metavar="TIME", default="30d", show_default=True, help="How long hosts accept it."
    )
    return sign(expires(_signers(function)))


@command(
    "channel publish",
    section="Bundles",
    example="releaser channel publish shop.bundle --to /srv/channels --name production --sign ~/.ssh/id_ed25519",
    admits=False,
    changes=True,
)
@_moves
@click.option("--to", "where", metavar="PLACE", required=True, help=_PLACE)
@click.option("--name", required=True, metavar="NAME", help="The name of the channel.")
@click.option(
    "--delta", "deltas", type=_FILE, multiple=True, help="A delta of the same release, for hosts that have its base."
)
@click.argument("file", metavar="BUNDLE", type=_FILE)
def publish(
    ctx: CommandContext,
    key: Path,
    expires: str,
    signers: Path | None,
    where: str,
    name: str,
    deltas: tuple[Path, ...],
    file: Path,
) -> None:
    """Upload BUNDLE and point a channel at it; hosts that run `update --from PLACE/NAME` make it live."""
    from releaser.bundles.pointer import Channel

    found = _publisher(ctx, key, expires, signers).publish(Channel.of(where, name), file, deltas)
    _tell(ctx, found)


@command(
    "channel promote",
    section="Bundles",
    example="releaser channel promote staging production --at /srv/channels --sign ~/.ssh/id_ed25519",
    admits=False,
    changes=True,
)
@_moves
@_at
@click.argument("source", metavar="FROM")
@click.argument("name", metavar="TO")
def promote(
    ctx: CommandContext, key: Path, expires: str, signers: Path | None, where: str, source: str, name: str
) -> None:
    """Point the channel TO at what the channel FROM points at."""
    from releaser.bundles.pointer import Channel

    publisher = _publisher(ctx, key, expires, signers)
    _tell(ctx, publisher.promote(Channel.of(where, source), Channel.of(where, name)))


@command(
    "channel rollback",
    section="Bundles",
    example="releaser channel rollback production --at /srv/channels --sign ~/.ssh/id_ed25519",
    admits=False,
    changes=True,
)
@_moves
@_at
@click.argument("name")
@click.argument("release", required=False)
def rollback(
    ctx: CommandContext, key: Path, expires: str, signers: Path | None, where: str, name: str, release: str | None
) -> None:
    """Point the channel NAME back at RELEASE; by default, at the newest one older than the current one."""
    from releaser.bundles.pointer import Channel

    _tell(ctx, _publisher(ctx, key, expires, signers).rollback(Channel.of(where, name), release))


@command("channel show", section="Bundles", example="releaser channel show production --at /srv/channels", admits=False)
@_signers
@_at
@click.argument("name")
def show(ctx: CommandContext, signers: Path | None, where: str, name: str) -> None:
    """Verify the channel NAME, and show where it points, who moved it, and when."""
    from releaser.bundles.pointer import Channel
    from releaser.pipelines.bundle_install import trust_of
    from releaser.site.site import open_site

    site = open_site(ctx.project, os.environ)
    channel = Channel.of(where, name)
    pointer, signer = channel.read(site.runner, trust_of(site, signers.absolute() if signers is not None else None))
    ctx.output.answer(channel.details(pointer, signer=signer), _lines)


def _lines(found: ChannelDetails) -> list[str]:
    rows = [
        ("project:", found.project),
        ("release:", found.release),
        ("sequence:", found.sequence),
        ("expires:", f"{found.expires}{' (expired)' if found.expired else ''}"),
        ("signed by:", found.signer),
    ]
    moves = (f"  {one.at}  {one.action:<9}{one.release}  {one.by}  {one.bundle.path}" for one in found.moves)
    return [f"{name:<11}{value}" for name, value in rows] + list(moves)


def _publisher(ctx: CommandContext, key: Path, expires: str, signers: Path | None) -> Publisher:
    from releaser.pipelines.bundle_install import trust_of
    from releaser.pipelines.channel import Publisher
    from releaser.site.site import open_site
    from releaser.site.values import duration

    try:
        seconds = duration(expires)
    except ValueError as error:
        message = f"--expires {expires}: {error}"
        raise UsageError(message, advice="Write it as 30d.") from error
    site = open_site(ctx.project, os.environ)  # there need not be one: settings are those of the environment then
    trust = trust_of(site, signers.absolute() if signers is not None else None)
    return Publisher(runner=site.runner, key=key.absolute(), expires=seconds, trust=trust, dry_run=ctx.dry_run)


def _tell(ctx: CommandContext, found: ChannelDetails) -> None:
    from releaser.answers import Plan

    points = "would point" if ctx.dry_run else "points"
    line = f"{found.place}/{found.channel} {points} to {found.release}, until {found.expires}"
    if not ctx.dry_run:
        ctx.output.answer(found, lambda _: [line])
    elif ctx.output.json:
        ctx.output.print_json(Plan(would=(line,)))
    else:
        ctx.output.print_lines([f"dry run: {line}"])
