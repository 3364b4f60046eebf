"""``serve``: the console in a browser, on loopback; each tab runs a separate console."""

from __future__ import annotations

import argparse
import getpass
import os
import shlex
import socket
import sys

from gainstage.engine.views.commands import DeskError
from gainstage.tui.commands.common import database_url, paths_of, place_arguments, setting_arguments, settings_of, without_secrets

EXAMPLES = {
    "serve": """examples:
  gainstage serve                          read-only; prints the address to open
  gainstage serve --control --port 8300    with every key; whoever has the address has the desk
  gainstage serve --scripted               look around without any engine

It listens on this machine only. From another one, open the tunnel that it prints and use the same address there.""",
}

PORT = 8400


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser, json_too=False)
    setting_arguments(parser)
    parser.add_argument("--port", type=int, default=PORT, help=f"port on loopback, 0 for a free one (default: {PORT})")
    parser.add_argument("--control", action="store_true", help="not only look: everything the console can do")
    parser.add_argument("--scripted", action="store_true", help="the scripted story: look around without any engine")


def run(name: str, args: argparse.Namespace) -> int:
    from gainstage.tui.web.server import ConsoleServer, listen

    loaded = settings_of(args)
    if not 0 <= args.port <= 65535:
        raise DeskError(f"--port {args.port}: 0 to 65535")
    try:
        listening = listen(args.port)
    except OSError as error:
        raise DeskError(f"port {args.port} cannot be used: {error.strerror}; --port names another") from None
    if url := database_url(args, loaded):
        os.environ["GAINSTAGE_STORE__DATABASE"] = url  # not in the command: other users can read the arguments of a process
    os.environ["PYTHONSAFEPATH"] = "1"
    # from the root folder: files where the server was started must not be imported
    server = ConsoleServer(f"cd / && exec {shlex.join(console_command(args))}")
    port = listening.getsockname()[1]
    print(f"{'console' if args.control else 'read-only console'} at {server.url(port)}")
    print(f"from another machine: ssh -N -L {port}:127.0.0.1:{port} {_user()}@{socket.gethostname()}")
    print("Ctrl-C ends it; the engine goes on", flush=True)
    server.run(listening)
    return 0


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry in the user database
        return "USER"


def console_command(args: argparse.Namespace) -> list[str]:
    """The command that each tab runs."""
    command = [sys.executable, "-P", "-m", "gainstage.tui.cli", "console", "--exports", os.getcwd()]
    if not args.control:
        command.append("--readonly")
    if args.scripted:
        command.append("--scripted")
    if args.home:
        command += ["--home", str(paths_of(args).data)]
    if args.profile:
        command += ["--profile", os.path.abspath(args.profile) if args.profile.endswith(".toml") else args.profile]
    pairs, secrets = without_secrets(args.set)
    os.environ.update(secrets)  # inherited by the consoles of the tabs
    for pair in pairs:
        command += ["--set", pair]
    return command
