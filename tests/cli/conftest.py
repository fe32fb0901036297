"""What the tests of the command line share."""

from __future__ import annotations

import sys

import pytest

from anyq.cli import endings


@pytest.fixture(autouse=True)
def a_command_that_is_run_without_a_process_ends_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command ends its process at once where a thread is left; here that process would be pytest's."""
    monkeypatch.setattr(endings, "end_now", sys.exit)
