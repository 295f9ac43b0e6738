"""`serve` shows a page with buttons; `run-requests` carries out what people asked for there."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from releaser.commands.command import FILE, command
from releaser.commands.context import CommandContext, refuse_both
from releaser.commands.many import DEFAULT
from releaser.commands.output import Output
from releaser.errors import ExitCode, UsageError, refuse
from releaser.releases.requests import TakenRequest
from releaser.report import Plan
from releaser.site.ownership import admit
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Serving(Frozen):
    """The page that `serve` shows from now on: its `address` with the key, or the path of its socket."""

    address: str


ANSWERS: Mapping[str, tuple[Any, ...]] = {"serve": (Serving,), "run-requests": (list[TakenRequest], Plan)}


@command(section="Look closer", example="releaser serve --all", admits=False)
@click.option("--all", "all_sites", is_flag=True, help=f"Show all sites and servers in {DEFAULT}.")
@click.option("--sites", type=FILE, metavar="FILE", help="Show all sites and servers in FILE.")
@click.option("--port", type=click.IntRange(0, 65535), default=8347, show_default=True, help="The port on 127.0.0.1.")
@click.option("--socket", type=FILE, metavar="PATH", help="Listen on a unix socket, for the proxy in its group.")
@click.option(
    "--behind-proxy",
    "header",
    metavar="HEADER",
    help="Trust the proxy at the socket, which names each authenticated user in HEADER. Needs --socket and --host.",
)
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="A host name of the page. May be repeated.")
def serve(
    ctx: CommandContext,
    all_sites: bool,
    sites: Path | None,
    port: int,
    socket: Path | None,
    header: str | None,
    hosts: tuple[str, ...],
) -> None:
    """Serve a page with the state of sites, and buttons for requests.

    The page listens on this host only, and writes only requests. The next run of each site carries them out.
    """
    if all_sites and sites is not None:
        refuse_both("--all", "--sites")
    proxy: dict[str, object] = {"--behind-proxy": header, "--socket": socket, "--host": hosts}
    if missing := [option for option, value in proxy.items() if not value] if any(proxy.values()) else []:
        message = f"--behind-proxy, --socket and --host need each other: {' and '.join(missing)} is missing"
        advice = (
            "On a port, each user of this host could pretend to be the proxy. For a page with a key, omit all three."
        )
        raise UsageError(message, advice)
    file = sites or (DEFAULT if all_sites else None)
    if file is None:
        admit(ctx.project, ctx.name, os.environ)
    if os.geteuid() == 0:
        message = "`releaser serve` does not run as root: the page needs no rights"
        refuse("serve-as-root", message, "Run it as another user, for example with `sudo -u NAME releaser serve`.")
    from releaser.pipelines import serve as page

    if file is None:
        root = ctx.site().project.checkout
        states = page.States(lambda: page.list_one(root), os.environ)
    else:
        page.list_from(file, os.environ)  # an invalid file ends the command
        states = page.States(lambda: page.list_from(file, os.environ), os.environ)
    door = page.Door(header=header, hosts=hosts) if header else page.Door(key=secrets.token_urlsafe(24))

    def say(address: str) -> None:
        if ctx.output.json:
            ctx.output.print_json(Serving(address=address))
        else:
            ctx.output.print_lines([address])
        sys.stdout.flush()

    page.serve(states, door, port=port, socket=socket and socket.absolute(), ready=say)


@command("run-requests", section="Build and run", example="releaser run-requests", changes=True, waits=True, many="all")
def run_requests(ctx: CommandContext) -> None:
    """Carry out the requests that people made on the page of `releaser serve`."""
    from releaser.fleet.many_sites import badness
    from releaser.pipelines.requests import carry_out_requests, plan_requests

    if ctx.dry_run:
        ctx.print_plan(plan_requests(ctx.site()))
        return
    found = carry_out_requests(ctx.request())
    if ctx.output.json:
        ctx.output.print_json([one.request for one in found])
    for one in found:
        if one.report is None:
            ctx.output.note(f"request refused: {one.request.what}, by {one.request.by}: {one.request.headline}")
        elif not ctx.output.json:
            Output(verbose=ctx.output.verbose, quiet=ctx.output.quiet).print_report(one.report)
    codes = [one.report.exit_code if one.report else ExitCode.FOUND for one in found]
    sys.exit(min(codes, key=badness, default=ExitCode.OK))
