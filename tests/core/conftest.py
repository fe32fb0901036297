"""A loaded machine is no defect of a rule: examples have no deadline. Those that must be quick measure it themselves."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("rules", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rules")
