"""The program ``anyq``: its sub-commands, each from a file of its own.

Rule: a command is imported when it is asked for. A look from a script should not pay for the worker, the demonstration
and what they draw with; only the help, and a shell that completes, ask for all of them.
"""

from __future__ import annotations

from importlib import import_module

import click

from .._version import installed_version

#: Each command, and the module here that has it.
COMMANDS = {
    "completion": "completion",
    "demo": "demo",
    "dlq": "dead_letters",
    "doctor": "doctor",
    "drain": "drain",
    "enqueue": "enqueue",
    "events": "events",
    "job": "job",
    "jobs": "jobs",
    "pause": "pausing",
    "resume": "pausing",
    "schedules": "schedules",
    "server": "server",
    "status": "status",
    "watch": "watch",
    "worker": "worker",
    "workers": "workers",
}


class Commands(click.Group):
    """A group that imports its commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own names
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        found: click.Command = getattr(import_module(f".{place}", __package__), cmd_name)
        return found


def _say_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    click.echo(f"anyq {installed_version() or '(not installed)'}")
    context.exit()


@click.group(
    name="anyq",
    cls=Commands,
    context_settings={
        "auto_envvar_prefix": "ANYQ",
        "help_option_names": ["-h", "--help"],
        "show_default": True,
    },
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Show the version and exit.",
)
def anyq() -> None:
    """A background job queue on Redis or Valkey, for Trio and asyncio.

    Each option can be an environment variable too: --drain-timeout of `anyq worker` is ANYQ_WORKER_DRAIN_TIMEOUT.
    """
