"""The DAGs of the browser tests beside the demonstration: one that fails, one that has not begun, a large one, one that
waits for a sign-off, and one whose algorithm is a job."""

import os
import sys
from pathlib import Path
from typing import Any

from airflow.sdk import BaseNotifier, get_parsing_context

from airflow_provider_caf import CAF, Algorithm, Calibration, Collection, ImportedPayloads, SignOff, build_dag

SHOUT = "echo '<script>document.title = \"owned\"</script><b>bold</b>' >&2; exit 3"
"""What a hostile or careless job prints."""


class FileNotifier(BaseNotifier):
    """Sends its message to a file."""

    template_fields = ("message",)

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message

    def notify(self, context: Any) -> None:
        with Path(os.environ["CAF_TEST_MESSAGES"]).open("a") as file:
            file.write(f"{self.message}\n--\n")


def make_calibration(name: str, **words: Any) -> Calibration:
    """Give a calibration all subjobs of which fail."""
    collection = Collection(
        ["bash", "-c", SHOUT], input_data="events", max_collector_jobs=2, max_subjob_retries=0, granularity="all"
    )
    return Calibration(name, collections={"hits": collection}, algorithms="demo_calibrators:BeamSpotAlgorithm", **words)


def make(name: str, *calibrations: Calibration, **words: Any) -> CAF:
    """Give a CAF."""
    return CAF(name, [*calibrations], input_data={"events": ["/nowhere/*.root"]}, run_options=["connection"], **words)


failing = build_dag(
    make("failing", make_calibration("vertex"), make_calibration("after", depends_on=["vertex"])),
    default_args={"on_failure_callback": FileNotifier("Attention! {{ caf_message() }}")},
)
empty = build_dag(make("empty", make_calibration("vertex")), is_paused_upon_creation=True)
if get_parsing_context().dag_id in (None, "large"):  # it takes seconds, and the tasks of the others need it not
    large = build_dag(
        make("large", *(make_calibration(f"calibration_{number:02d}") for number in range(80))),
        is_paused_upon_creation=True,
    )
beam_spot = Calibration(
    "beam_spot",
    "demo_calibrators:VertexCollector",
    Algorithm("held_calibrators:BeamSpotAlgorithm", "SequentialRunByRun", backend="inherit"),
    input_data="events",
    max_collector_jobs=4,
    max_iterations=0,
)
FARM = {"backend": os.environ.get("CAF_TEST_BACKEND", "htcondor"), "backend_args": {"python": sys.executable}}
on_farm = build_dag(make("on_farm", beam_spot, **FARM))
by_hand = ImportedPayloads("by_hand", os.environ["CAF_TEST_BY_HAND"])
signed = build_dag(CAF("signed", [by_hand], sign_off=SignOff(message="Are the payloads complete?")))
