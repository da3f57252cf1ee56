"""Keep property tests independent of how busy the machine is."""

from __future__ import annotations

from hypothesis import settings

# A deadline per example measures the machine's load; the time of planning is a benchmark's matter.
settings.register_profile("without_deadline", deadline=None)
settings.load_profile("without_deadline")
