"""What an installation without the extras says when a part is imported that needs one."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("part", "missing", "extra"),
    [
        ("anyq.metrics.prometheus", "prometheus_client", "prometheus"),
        ("anyq.metrics.opentelemetry", "opentelemetry", "otel"),
        ("anyq.tracing", "opentelemetry", "otel"),
    ],
)
def test_a_part_whose_extra_is_not_installed_names_it(part: str, missing: str, extra: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; import {part}"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: {part} needs {missing}, which is not installed: pip install 'anyq[{extra}]'"
    )
