"""The commands of `bundle`: a release in one file."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec

from releaser.bundles.bundle import Bundle, open_bundle
from releaser.bundles.create import create_bundle
from releaser.cli import render
from releaser.cli.common import OVERRIDES, Common, Group, common_options, run_and_exit
from releaser.pipelines.install import choose_signers, install, make_checkout
from releaser.pipelines.override import build_overridden
from releaser.report.outcomes import make_done
from releaser.system.run import INSTALL, OVERRIDE

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("bundle", cls=Group)
def bundle_group() -> None:
    """Make, show, verify and install a release in one file."""


@bundle_group.command("create")
@click.option("-o", "--output", type=FILE, required=True, metavar="FILE", help="File to write.")
@click.argument("release", default="live")
@click.option("--base", type=FILE, metavar="BUNDLE", help="Leave out what this earlier bundle has.")
@click.option("--sign", "key", type=FILE, metavar="KEY", help="Sign with this SSH key; also FILE.sig, for ssh-keygen.")
@OVERRIDES
@common_options(takes_lock=True)
def create_command(
    common: Common,
    output: Path,
    release: str,
    base: Path | None,
    key: Path | None,
    overrides: tuple[tuple[str, str], ...],
) -> None:
    """Write RELEASE, by default the live one, into a file: code, lock, wheels and products."""
    if overrides:
        if release != "live":
            raise click.UsageError("`--override` changes the packages of the live release: name no other one.")
        run_and_exit(
            common,
            OVERRIDE,
            lambda site, run, recovery: make_done(
                create_bundle(site, output, build_overridden(site, run, dict(overrides)).id, base, key).headline
            ),
        )
    bundle = create_bundle(common.open_site(), output, release, base, key)
    if common.as_json:
        _print_facts(bundle, {"signed": key is not None})
    else:
        render.print_created(bundle, quiet=common.quiet)


@bundle_group.command("show")
@click.argument("file", type=FILE)
@common_options(takes_lock=False)
def show_command(common: Common, file: Path) -> None:
    """Show what FILE has, and whether it is whole; `bundle verify` asks who signed it."""
    _print(common, open_bundle(file, None))


@bundle_group.command("verify")
@click.argument("file", type=FILE)
@click.option("--base", type=FILE, metavar="BUNDLE", help="The bundle that FILE was made from.")
@click.option("--unsigned", is_flag=True, help="Do not ask who signed it.")
@common_options(takes_lock=False)
def verify_command(common: Common, file: Path, base: Path | None, unsigned: bool) -> None:
    """Verify the signature of FILE, then all else; exit 3 if anything is wrong."""
    _print(common, open_bundle(file, None if unsigned else choose_signers(common.project, os.environ), base))


@bundle_group.command("install")
@click.argument("file", type=FILE)
@click.option("--into", type=click.Path(path_type=Path), metavar="DIR", help="Make the checkout in DIR, on a new host.")
@click.option("--base", type=FILE, metavar="BUNDLE", help="The bundle that FILE was made from, if it is not here.")
@click.option("--unsigned", is_flag=True, help="Do not ask who signed it.")
@common_options(takes_lock=True)
def install_command(common: Common, file: Path, into: Path | None, base: Path | None, unsigned: bool) -> None:
    """Test the release in FILE, and take it live, without a network."""
    bundle = open_bundle(file, None if unsigned else choose_signers(into or common.project, os.environ), base)
    if into is not None:
        common = msgspec.structs.replace(common, project=make_checkout(bundle, into, os.environ))
    run_and_exit(common, INSTALL, lambda site, run, recovery: install(site, run, bundle))


def _print(common: Common, bundle: Bundle) -> None:
    if common.as_json:
        _print_facts(bundle, {"signer": bundle.signer})
    else:
        render.print_bundle(bundle)


def _print_facts(bundle: Bundle, more: dict[str, object]) -> None:
    facts = {"headline": bundle.headline, "file": str(bundle.path), "size_bytes": bundle.path.stat().st_size}
    render.print_answer(bundle.manifest, **facts, **more)
