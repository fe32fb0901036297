"""A loaded machine is no defect of a rule: examples have no deadline. What must be quick measures it itself."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("rules", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rules")
