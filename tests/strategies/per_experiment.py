"""A built-in strategy with other settings of the algorithm for some experiments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from airflow_provider_caf.core.strategies import Param, SequentialRunByRun


class PerExperiment(SequentialRunByRun):
    """SequentialRunByRun where an experiment may need more or less data than the others."""

    known_params: ClassVar = {
        "has_experiment_settings": Param(kind="bool", default=True, text="Always, in this strategy."),
        "least": Param(kind="int", default=1, minimum=1, text="The entries that a payload needs."),
        "least_of": Param(kind="json", default={}, text="The same for single experiments, by their number as text."),
    }

    def build_experiment_settings(self, exp: int) -> Mapping[str, Any]:
        """Give the algorithm its minimum."""
        return {"least": self.params["least_of"].get(str(exp), self.params["least"])}
