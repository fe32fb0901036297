"""What a worker says on standard error: lines for people or, with ``--json``, an object a line, for log collectors.

Rule: an object is one line of ASCII whatever its texts hold, and a message that cannot be put together is told all the
same, and from where it came.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

#: Whose lines those of the command line are.
LOGGER = "anyq.cli"

_LINE = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"

#: Characters of a message that are kept, and of a traceback, whose end says what went wrong.
_MESSAGE, _TRACEBACK = 10_000, 20_000


def log_to_stderr(level: str, *, as_json: bool) -> None:
    """Send the log to standard error, from this level on; with it, as JSON, what Python warns of."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else logging.Formatter(_LINE))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(as_json)


def tell(text: str, *, as_json: bool, exception: str | None = None, **more: Any) -> None:
    """Say what is wrong past the log, whose handlers may be in the hands of a thread that hangs.

    Args:
        text: What is wrong.
        as_json: Say it as an object of the log's shape.
        exception: The traceback of that object.
        more: What else that object has.
    """
    if as_json:
        moment = datetime.now(UTC)
        line = _object(moment, "ERROR", LOGGER, os.getpid(), text, exception, **more)
    else:
        line = f"anyq: {text}"
    sys.stderr.write(line + "\n")


class JsonLines(logging.Formatter):
    """Makes an object of a record: ``time``, ``level``, ``logger``, ``process``, ``message``, ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - it is of whoever logs, and the line must not break for it
            place = f"{record.pathname}:{record.lineno}"
            message = f"a message of {place} that cannot be put together: {type(error).__name__}"
        if record.stack_info:
            message += "\n" + record.stack_info
        raised = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        moment = datetime.fromtimestamp(record.created, UTC)
        process = record.process or os.getpid()
        return _object(moment, record.levelname, record.name, process, message, raised)


def _object(
    moment: datetime,
    level: str,
    logger: str,
    process: int,
    message: str,
    exception: str | None,
    **more: Any,
) -> str:
    """One line; too much of a text is cut."""
    if len(message) > _MESSAGE:
        message = message[: _MESSAGE - 1] + "…"
    if exception and len(exception) > _TRACEBACK:
        exception = "…" + exception[1 - _TRACEBACK :]
    return json.dumps(
        {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": level,
            "logger": logger,
            "process": process,
            "message": message,
            "exception": exception or None,
            **more,
        }
    )
