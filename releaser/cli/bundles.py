"""The commands about bundles: a release in one file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from releaser.cli import completion
from releaser.cli.command import NonEmptyPath, command, refuse_both
from releaser.errors import UsageError
from releaser.site.ownership import admit
from releaser.system.words import size

if TYPE_CHECKING:
    from releaser.bundles.manifest import BundleDetails, BundleDifference
    from releaser.cli.command import CommandContext
    from releaser.pipelines.bundle_create import BundleRequest

_FILE = NonEmptyPath(path_type=Path, dir_okay=False)
_signers = click.option(
    "--signers", type=_FILE, help="Whom to trust: an allowed_signers file. Default: bundle_signers."
)
_unsigned = click.option("--unsigned", is_flag=True, help="Do not require a signature.")


@command(
    "bundle create",
    section="Bundles",
    example="releaser bundle create --sign ~/.ssh/id_ed25519 -o shop.bundle",
    admits=False,
)
@click.option("--from", "source", metavar="URL@REF", help="Build and test from this repository, without a site.")
@click.option("--base", metavar="BUNDLE", help="Leave out what this earlier bundle, a file or a release, contains.")
@click.option(
    "--target", "targets", multiple=True, metavar="PYTHON-PLATFORM", help="Add wheels for this target. May be repeated."
)
@click.option("--sign", "key", type=_FILE, metavar="KEY", help="Sign it with this OpenSSH key.")
@click.option(
    "--expires", metavar="TIME", help="How long after the release was built it may be installed, such as 30d."
)
@click.option("--no-installer", is_flag=True, help="Leave out releaser and uv, for hosts that have them.")
@click.option("-o", "--output", type=_FILE, metavar="FILE", required=True, help="The file to write.")
@click.argument("release", required=False, shell_complete=completion.releases)
def create(
    ctx: CommandContext,
    source: str | None,
    base: str | None,
    targets: tuple[str, ...],
    key: Path | None,
    expires: str | None,
    no_installer: bool,
    output: Path,
    release: str | None,
) -> None:
    """Write RELEASE (default: the live one) to one file: its code, lock and wheels, releaser and uv."""
    from releaser.bundles.wheels import parse_target
    from releaser.pipelines.bundle_create import BundleRequest, create_bundle
    from releaser.site.values import duration

    try:
        seconds = duration(expires) if expires is not None else None
    except ValueError as error:
        message = f"--expires {expires}: {error}"
        raise UsageError(message, advice="Write it as 30d.") from error
    wanted = BundleRequest(
        output=output,
        release=release,
        base=base,
        targets=tuple(map(parse_target, targets)),
        key=key.expanduser().absolute() if key is not None else None,
        expires=seconds,
        installer=not no_installer,
    )
    if source is None:
        admit(ctx.project, ctx.name, os.environ)
        found = create_bundle(ctx.site(), wanted)
    else:
        found = _create_from(ctx, source, wanted)
    if ctx.output.json:
        ctx.output.print_json(found)
    else:
        kind = f"a delta from {found.base}" if found.base else "all that is needed"
        ctx.output.note(f"wrote {found.path}: {found.release}, {size(found.size_bytes)}, {kind}")
        if wanted.installer and found.targets[1:]:
            own = f"Python {found.python} on {found.platform}"
            ctx.output.note(f"it has releaser and uv for {own} only: install them yourself on other hosts")


def _create_from(ctx: CommandContext, source: str, wanted: BundleRequest) -> BundleDetails:
    from releaser.pipelines.bundle_create import build_from, create_bundle
    from releaser.site.site import open_site

    if wanted.release is not None:
        refuse_both("--from", "RELEASE")
    with build_from(source, os.environ, ctx.output.listener()) as (place, report):
        if report.exit_code:
            ctx.end(report)
        site = open_site(place, {**os.environ, "RELEASER_BRANCH": "main"})
        return create_bundle(site, replace(wanted, release=report.release))


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
    type=NonEmptyPath(path_type=Path),
    metavar="DIR",
    help="Create the project in this directory if it does not exist.",
)
@click.option("--allow-older", is_flag=True, help="Install it even if the live release is newer.")
@click.option("--tests", type=click.Choice(["always", "never"]), default="always", help="Run the project's tests here.")
@click.option("--force", is_flag=True, help="Install it even if it failed here before.")
@click.argument("file", type=_FILE)
def install(
    ctx: CommandContext,
    signers: Path | None,
    unsigned: bool,
    into: Path | None,
    allow_older: bool,
    tests: str,
    force: bool,
    file: Path,
) -> None:
    """Verify the bundle FILE, build its release without a network, test it, and make it live as an update does."""
    from releaser.answers import Plan
    from releaser.pipelines.bundle_install import InstallRequest, check_out, install_bundle, plan_install

    if signers is not None and unsigned:
        refuse_both("--signers", "--unsigned")
    wanted = InstallRequest(
        file=file.absolute(),
        signers=signers.absolute() if signers is not None else None,
        unsigned=unsigned,
        allow_older=allow_older,
        tests=tests == "always",
        force=force,
    )
    if into is not None:
        place = check_out(os.environ, into, wanted, dry_run=ctx.dry_run)
        if ctx.dry_run and not (place / "pyproject.toml").exists():
            would = Plan(would=(f"make the project in {place}, and its first release",))
            ctx.output.answer(would, lambda found: [f"dry run: {one}" for one in found.would])
            return
        ctx = replace(ctx, project=into)
    admit(ctx.project, ctx.name, os.environ)
    ctx.end(ctx.run(plan_install, install_bundle, wanted))


@command("bundle show", section="Bundles", example="releaser bundle show shop.bundle", admits=False)
@click.argument("file", type=_FILE)
def show(ctx: CommandContext, file: Path) -> None:
    """Show what the bundle FILE says about itself, without verifying it."""
    from releaser.pipelines.bundle_install import show_bundle

    ctx.output.answer(show_bundle(file), _lines)


@command("bundle verify", section="Bundles", example="releaser bundle verify shop.bundle")
@_signers
@_unsigned
@click.argument("file", type=_FILE)
def verify(ctx: CommandContext, signers: Path | None, unsigned: bool, file: Path) -> None:
    """Verify the signature of the bundle FILE, and the hash of each file in it."""
    from releaser.pipelines.bundle_install import InstallRequest, verify_bundle

    wanted = InstallRequest(file=file, signers=signers.absolute() if signers is not None else None, unsigned=unsigned)
    ctx.output.answer(verify_bundle(ctx.site(), wanted), _lines)


@command("bundle diff", section="Bundles", example="releaser bundle diff old.bundle new.bundle", admits=False)
@click.argument("before", type=_FILE)
@click.argument("after", type=_FILE)
def diff(ctx: CommandContext, before: Path, after: Path) -> None:
    """List what changes from the bundle BEFORE to the bundle AFTER."""
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
        ("signed by:", found.signer or ("not required" if found.signer == "" else "not verified")),
        ("size:", f"{size(found.size_bytes)}, {found.files} files"),
    ]
    return [f"{name:<11}{value}" for name, value in rows] + [f"  {one}" for one in found.wheels]
