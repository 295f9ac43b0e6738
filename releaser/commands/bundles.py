"""The commands about bundles, each a release in one file, and about channels, which are signed pointers to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from releaser.bundles.manifest import BundleDetails, BundleDifference
from releaser.bundles.pointer import ChannelDetails
from releaser.commands import completion
from releaser.commands.command import DIRECTORY, FILE, command
from releaser.commands.context import CommandContext, refuse_both
from releaser.errors import UsageError
from releaser.report import Plan
from releaser.site.ownership import admit
from releaser.system.durations import seconds_of
from releaser.system.frozen import replace
from releaser.system.words import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.bundles.pointer import Channel
    from releaser.pipelines.channel import Publisher

#: The types of their answers with `--json`, see answers.py.
ANSWERS = {
    "bundle create": (BundleDetails,),
    "bundle show": (BundleDetails,),
    "bundle verify": (BundleDetails,),
    "bundle diff": (BundleDifference,),
    "channel publish": (ChannelDetails, Plan),
    "channel promote": (ChannelDetails, Plan),
    "channel rollback": (ChannelDetails, Plan),
    "channel show": (ChannelDetails,),
}
_PLACE = "The place of the channel: a directory, or an s3: or https: URL."
_signers = click.option(
    "--signers",
    type=FILE,
    callback=lambda _, __, file: file and file.absolute(),
    help="The keys to trust, an allowed_signers file. Default: the setting bundle_signers.",
)
_unsigned = click.option("--unsigned", is_flag=True, help="Do not require a signature.")


@command(
    "bundle create",
    section="Bundles",
    example="releaser bundle create --sign ~/.ssh/id_ed25519 -o shop.bundle",
)
@click.option(
    "--base", metavar="BUNDLE", help="Write a delta: omit the contents of this earlier bundle (a file or a release)."
)
@click.option(
    "--target", "targets", multiple=True, metavar="PYTHON-PLATFORM", help="Add wheels for this target. May be repeated."
)
@click.option("--sign", "key", type=FILE, metavar="KEY", help="Sign the bundle with this OpenSSH key.")
@click.option("--expires", metavar="TIME", help="How long after its build hosts may install the release, such as 30d.")
@click.option("--no-installer", is_flag=True, help="Omit releaser and uv, for hosts that already have them.")
@click.option(
    "--extra",
    "extras",
    multiple=True,
    help="Add an extra of releaser, such as s3, to those that the settings need. May be repeated.",
)
@click.option("--only-remote-head", is_flag=True, help="Refuse a release whose code differs from the remote head.")
@click.option("-o", "--output", type=FILE, metavar="FILE", required=True, help="The file to write.")
@click.argument("release", required=False, shell_complete=completion.releases)
def create(
    ctx: CommandContext,
    base: str | None,
    targets: tuple[str, ...],
    key: Path | None,
    expires: str | None,
    no_installer: bool,
    extras: tuple[str, ...],
    only_remote_head: bool,
    output: Path,
    release: str | None,
) -> None:
    """Write a release to one file, for hosts without a network.

    The file has code, lock and wheels, releaser and uv. RELEASE is the live release by default.
    """
    from releaser.bundles.wheels import parse_target
    from releaser.pipelines.bundle_create import BundleRequest, create_bundle, describe_commit

    wanted = BundleRequest(
        output=output,
        release=release,
        base=base,
        targets=tuple(map(parse_target, targets)),
        key=key.expanduser().absolute() if key is not None else None,
        expires=_read_expires(expires) if expires is not None else None,
        installer=not no_installer,
        extras=extras,
        only_remote_head=only_remote_head,
    )
    site = ctx.site()
    found = create_bundle(site, wanted)
    if ctx.output.json:
        ctx.output.print_json(found)
    else:
        kind = f"a delta from {found.base}" if found.base else "complete"
        ctx.output.note(f"wrote {found.path}: {found.release}, {size(found.size_bytes)}, {kind}")
        ctx.output.note(f"code: {describe_commit(site, found.commit)}")
        if found.overrides:
            ctx.output.note(f"it tries {', '.join(found.overrides)}, so only test hosts install it, with --for-tests")
        if wanted.installer and not found.base and found.targets[1:]:
            own = f"Python {found.python} on {found.platform}"
            ctx.output.note(f"the bundle has releaser and uv for {own} only; on other hosts, install both yourself")


@command(
    "bundle install",
    section="Bundles",
    example="releaser bundle install shop.bundle",
    changes=True,
    waits=True,
    mails=True,
    admits=False,
)
@_signers
@_unsigned
@click.option(
    "--into",
    type=DIRECTORY,
    metavar="DIR",
    help="Create the project in this directory if it does not exist.",
)
@click.option("--allow-older", is_flag=True, help="Install the bundle even if the live release is newer.")
@click.option(
    "--tests",
    type=click.Choice(["always", "never"]),
    default="always",
    show_default=True,
    help="When to run the project's tests on this host.",
)
@click.option("--force", is_flag=True, help="Install the bundle even if it failed on this host before.")
@click.option(
    "--for-tests", is_flag=True, help="Accept a bundle that tries packages of `update --override`, on a test host."
)
@click.argument("file", type=FILE)
def install(
    ctx: CommandContext,
    signers: Path | None,
    unsigned: bool,
    into: Path | None,
    allow_older: bool,
    tests: str,
    force: bool,
    for_tests: bool,
    file: Path,
) -> None:
    """Install a bundle without a network, as an update does.

    The command verifies the bundle, builds and tests its release, and makes it live.
    """
    from releaser.pipelines.bundle_install import InstallRequest, check_out, install_bundle, plan_install

    if signers is not None and unsigned:
        refuse_both("--signers", "--unsigned")
    wanted = InstallRequest(
        file=file.absolute(),
        signers=signers,
        unsigned=unsigned,
        allow_older=allow_older,
        tests=tests == "always",
        force=force,
        for_tests=for_tests,
    )
    if into is not None:
        place = check_out(os.environ, into, wanted, dry_run=ctx.dry_run)
        if ctx.dry_run and not (place / "pyproject.toml").exists():
            ctx.print_plan(Plan(would=(f"create the project in {place}, with its first release",)))
            return
        ctx = replace(ctx, project=into)
    admit(ctx.project, ctx.name, os.environ)
    ctx.end(ctx.run(plan_install, install_bundle, wanted))


@command("bundle show", section="Bundles", example="releaser bundle show shop.bundle", admits=False)
@click.argument("file", type=FILE)
def show(ctx: CommandContext, file: Path) -> None:
    """Show the contents of a bundle, without verifying it."""
    from releaser.pipelines.bundle_install import show_bundle

    ctx.output.answer(show_bundle(file), _lines)


@command("bundle verify", section="Bundles", example="releaser bundle verify shop.bundle")
@_signers
@_unsigned
@click.argument("file", type=FILE)
def verify(ctx: CommandContext, signers: Path | None, unsigned: bool, file: Path) -> None:
    """Verify the signature and the files of a bundle."""
    from releaser.pipelines.bundle_install import InstallRequest, verify_bundle

    wanted = InstallRequest(file=file, signers=signers, unsigned=unsigned)
    ctx.output.answer(verify_bundle(ctx.site(), wanted), _lines)


@command("bundle diff", section="Bundles", example="releaser bundle diff old.bundle new.bundle", admits=False)
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
def diff(ctx: CommandContext, before: Path, after: Path) -> None:
    """List the package changes between two bundles. Names the size of new files."""
    from releaser.pipelines.bundle_install import compare_bundles

    def lines(found: BundleDifference) -> list[str]:
        return [
            *(f"{one.name} {one.old or 'none'} -> {one.new or 'none'}" for one in found.changes),
            f"{size(found.new_bytes)} of new files",
        ]

    ctx.output.answer(compare_bundles(before, after), lines)


def _lines(found: BundleDetails) -> list[str]:
    rows = [
        ("project:", found.project),
        ("release:", found.release),
        ("created:", found.created),
        ("expires:", found.expires or "never"),
        ("commit:", found.commit or "none"),
        ("group:", found.group or "none"),
        ("python:", f"{found.python} on {found.platform}, {found.libc}"),
        ("targets:", ", ".join(found.targets)),
        ("builds on:", found.base or "nothing"),
        *((("tries:", ", ".join(found.overrides)),) if found.overrides else ()),
        ("signed by:", found.signer or ("not required" if found.signer == "" else "not verified")),
        ("size:", f"{size(found.size_bytes)}, {found.files} files"),
    ]
    return [f"{name:<11}{value}" for name, value in rows] + [f"  {one}" for one in found.wheels]


_at = click.option("--at", "where", metavar="PLACE", required=True, help=_PLACE)


def _moves(function: Callable[..., None]) -> Callable[..., None]:
    sign = click.option(
        "--sign", "key", type=FILE, metavar="KEY", required=True, help="Sign the channel with this OpenSSH key."
    )
    expires = click.option(
        "--expires", metavar="TIME", default="30d", show_default=True, help="How long hosts accept this signature."
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
    "--delta",
    "deltas",
    type=FILE,
    multiple=True,
    help="A delta of the same release, for hosts that have its base. May be repeated.",
)
@click.option("--for-tests", is_flag=True, help="Create a channel for test hosts, which may try packages.")
@click.argument("file", metavar="BUNDLE", type=FILE)
def publish(
    ctx: CommandContext,
    key: Path,
    expires: str,
    signers: Path | None,
    where: str,
    name: str,
    deltas: tuple[Path, ...],
    for_tests: bool,
    file: Path,
) -> None:
    """Upload a bundle, and point a channel to it. Hosts that run `update --from PLACE/NAME` install it."""
    publisher = _publisher(ctx, key, expires, signers)
    _print_channel(ctx, publisher.publish(_channel(where, name), file, deltas, for_tests=for_tests))


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
    """Point the channel TO to the bundle of the channel FROM."""
    publisher = _publisher(ctx, key, expires, signers)
    _print_channel(ctx, publisher.promote(_channel(where, source), _channel(where, name)))


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
    """Point a channel back to RELEASE. By default, that is the next older release."""
    _print_channel(ctx, _publisher(ctx, key, expires, signers).rollback(_channel(where, name), release))


@command("channel show", section="Bundles", example="releaser channel show production --at /srv/channels", admits=False)
@_signers
@_at
@click.argument("name")
def show_channel(ctx: CommandContext, signers: Path | None, where: str, name: str) -> None:
    """Verify a channel, and show its release and its moves."""
    from releaser.pipelines.bundle_install import trust_of
    from releaser.site.site import open_site

    site = open_site(ctx.project, os.environ)
    channel = _channel(where, name)
    pointer, signer = channel.read(site.runner, trust_of(site, signers))
    ctx.output.answer(channel.details(pointer, signer=signer), _channel_lines)


def _channel_lines(found: ChannelDetails) -> list[str]:
    rows = [
        ("project:", found.project),
        ("release:", found.release),
        ("sequence:", found.sequence),
        ("expires:", f"{found.expires}{' (expired)' if found.expired else ''}"),
        ("signed by:", found.signer),
        *((("for:", "test hosts"),) if found.for_tests else ()),
    ]
    moves = (f"  {one.at}  {one.action:<9}{one.release}  {one.by}  {one.bundle.path}" for one in found.moves)
    return [f"{name:<11}{value}" for name, value in rows] + list(moves)


def _publisher(ctx: CommandContext, key: Path, expires: str, signers: Path | None) -> Publisher:
    from releaser.pipelines.bundle_install import trust_of
    from releaser.pipelines.channel import Publisher
    from releaser.site.site import open_site

    seconds = _read_expires(expires)
    site = open_site(ctx.project, os.environ)  # without a project, the settings are those of the environment
    trust = trust_of(site, signers)
    return Publisher(runner=site.runner, key=key.absolute(), expires=seconds, trust=trust, dry_run=ctx.dry_run)


def _channel(where: str, name: str) -> Channel:
    from releaser.bundles.pointer import Channel

    return Channel.of(where, name)


def _read_expires(text: str) -> float:
    try:
        return seconds_of(text)
    except ValueError as error:
        message = f"--expires {text}: {error}"
        raise UsageError(message, "Write a duration, such as `--expires 30d`.") from error


def _print_channel(ctx: CommandContext, found: ChannelDetails) -> None:

    points = "would point" if ctx.dry_run else "points"
    line = f"{found.place}/{found.channel} {points} to {found.release}, until {found.expires}"
    if ctx.dry_run:
        ctx.print_plan(Plan(would=(line,)))
    else:
        ctx.output.answer(found, lambda _: [line])
