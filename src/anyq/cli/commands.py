"""The program ``anyq``: its sub-commands, each from a file of its own."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import click

from .completion import completion
from .dead_letters import dlq
from .demo import demo
from .doctor import doctor
from .drain import drain
from .enqueue import enqueue
from .events import events
from .job import job
from .jobs import jobs
from .pausing import pause, resume
from .schedules import schedules
from .server import server
from .status import status
from .watch import watch
from .worker import worker
from .workers import workers


def _version() -> str:
    try:
        return version("anyq")
    except PackageNotFoundError:  # run from its sources
        return "(not installed)"


@click.group(
    name="anyq",
    context_settings={
        "auto_envvar_prefix": "ANYQ",
        "help_option_names": ["-h", "--help"],
        "show_default": True,
    },
)
@click.version_option(_version(), message="anyq %(version)s")
def anyq() -> None:
    """A background job queue on Redis or Valkey, for Trio and asyncio.

    Each option can be an environment variable too: --drain-timeout of `anyq worker` is ANYQ_WORKER_DRAIN_TIMEOUT.
    """


anyq.add_command(completion)
anyq.add_command(demo)
anyq.add_command(dlq)
anyq.add_command(doctor)
anyq.add_command(drain)
anyq.add_command(enqueue)
anyq.add_command(job)
anyq.add_command(jobs)
anyq.add_command(pause)
anyq.add_command(resume)
anyq.add_command(events)
anyq.add_command(schedules)
anyq.add_command(server)
anyq.add_command(status)
anyq.add_command(watch)
anyq.add_command(worker)
anyq.add_command(workers)
