"""What real scripts got wrong without anybody noticing is an error here, with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.files import read_definition

TRAPS = {
    "a parameter that the strategy ignores": (
        """
name: demo
calibrations:
  - name: beam
    collector: hits:C
    input_files: [/a]
    algorithms: [{algorithm: "hits:A", strategy: SingleIOV, params: {iov_coverage: [1, 0, -1, -1]}}]
""",
        7,
        "The strategy SingleIOV has no parameter 'iov_coverage'",
    ),
    "an unknown word": (
        """
name: demo
calibrations:
  - name: gain
    collector: hits:C
    input_file: [/a]
    algorithms: ["hits:A"]
""",
        6,
        "Did you mean 'input_files'",
    ),
    "two algorithms of one class": (
        """
name: demo
calibrations:
  - name: gain
    collector: hits:C
    input_files: [/a]
    algorithms:
      - hits:A
      - hits:A
""",
        9,
        "There are two algorithms named 'A' in calibration 'gain'",
    ),
    "algorithms without a collection and without depends_on": (
        """
name: demo
calibrations:
  - name: gain
    algorithms: ["hits:A"]
""",
        4,
        "Add one, or say by depends_on on whose payloads its algorithms work",
    ),
    "a setting on the wrong object": (
        """
name: demo
calibrations:
  - name: time
    settings: {window: 3}
    collector: hits:C
    input_files: [/a]
    algorithms: ["hits:A"]
""",
        5,
        "'settings' is a word of the collection",
    ),
    "a word of the default collection where the data is in a named one": (
        """
name: demo
calibrations:
  - name: time
    max_files_per_collector_job: 4
    collections:
      bhabha: {collector: "hits:C", input_files: [/a]}
    algorithms: ["hits:A"]
""",
        5,
        "'time' has max_files_per_collector_job but no collector",
    ),
    "memory that is declared and not applied": (
        """
name: demo
calibrations:
  - name: wires
    memory: 4 GB
    collector: hits:C
    input_files: [/a]
    algorithms: ["hits:A"]
""",
        5,
        "'memory' is an argument of the batch system: put it into backend_args",
    ),
    "memory among the expert options that nobody reads": (
        """
name: demo
expert_config:
  least: 3
  memory: 4 GB
calibrations:
  - name: wires
    collector: hits:C
    input_files: [/a]
    algorithms: [{algorithm: "hits:A", settings: {least: "{{ params.expert_config.least }}"}}]
""",
        5,
        "The expert option 'memory' has no effect",
    ),
    "a limit that only arguments know": (
        """
name: demo
calibrations:
  - name: cluster
    collections:
      all: {collector: "hits:C", input_files: [/a], max_subjobs: 100}
    algorithms: ["hits:A"]
""",
        6,
        "max_subjobs is given without arguments",
    ),
    "two calibrations of one name": (
        """
name: demo
calibrations:
  - {name: wires, collector: "hits:C", input_files: [/a], algorithms: ["hits:A"]}
  - {name: wires, collector: "hits:C", input_files: [/a], algorithms: ["hits:A"]}
""",
        5,
        "There are two calibrations named 'wires'",
    ),
    "a granularity that the strategy cannot use": (
        """
name: demo
calibrations:
  - name: fudge
    collector: hits:C
    input_files: [/a]
    granularity: all
    algorithms:
      - algorithm: hits:A
        strategy: SequentialRunByRun
""",
        10,
        "its data cannot be told apart by run",
    ),
    "a dependency that is not in the CAF": (
        """
name: demo
calibrations:
  - name: beam
    collector: hits:C
    input_files: [/a]
    algorithms: ["hits:A"]
    depends_on:
      - top
""",
        9,
        "Calibration 'beam' depends on 'top', which does not exist",
    ),
    "a mapping from file to IoV where a list is meant": (
        """
name: demo
calibrations:
  - name: efficiency
    collector: hits:C
    input_files: {/a: [1, 2]}
    algorithms: ["hits:A"]
""",
        6,
        "Put a mapping from file to IoV into files_to_iovs",
    ),
    "an empty selection": (
        """
name: demo
calibrations:
  - name: masks
    collections:
      all:
        collector: hits:C
        input_files: [/a]
        selection: {random_seed: 1}
    algorithms: ["hits:A"]
""",
        9,
        "The selection limits nothing",
    ),
    "no input": (
        """
name: demo
calibrations:
  - name: masks
    collector: hits:C
    input_files: []
    algorithms: ["hits:A"]
""",
        6,
        "has no input files",
    ),
    "a run that is ignored and a boundary": (
        """
name: demo
ignored_runs: [[1, 5]]
calibrations:
  - name: gain
    collector: hits:C
    input_files: [/a]
    algorithms:
      - algorithm: hits:A
        strategy: SequentialBoundaries
        params: {payload_boundaries: [[1, 1], [1, 5]]}
""",
        11,
        "has a boundary at run 1.5, which is in ignored_runs",
    ),
    "an IoV that ends before it starts": (
        """
name: demo
requested_iov: [2, 0, 1, 0]
calibrations:
  - {name: gain, collector: "hits:C", input_files: [/a], algorithms: ["hits:A"]}
""",
        3,
        "ends before it starts",
    ),
    "a run that YAML takes for a number": (
        """
name: demo
ignored_runs:
  - 8.10
calibrations:
  - {name: gain, collector: "hits:C", input_files: [/a], algorithms: ["hits:A"]}
""",
        4,
        "8.1 is not a run",
    ),
    "a data set that does not exist": (
        """
name: demo
input_data: {muons: [/a]}
calibrations:
  - {name: gain, collector: "hits:C", input_data: muon, algorithms: ["hits:A"]}
""",
        5,
        "Did you mean 'muons'",
    ),
    "a schedule beside other definitions": (
        """
name: demo
dag:
  schedule: "@daily"
  after: [other]
calibrations:
  - {name: gain, collector: "hits:C", input_files: [/a], algorithms: ["hits:A"]}
""",
        3,
        "It has both schedule and after",
    ),
    "a publication to nowhere": (
        """
name: demo
publish: {folder: accepted}
calibrations:
  - {name: gain, collector: "hits:C", input_files: [/a], algorithms: ["hits:A"]}
""",
        3,
        "The folder 'accepted' is not absolute",
    ),
    "users that are one text": (
        """
name: demo
sign_off: {users: anna}
calibrations:
  - {name: gain, collector: "hits:C", input_files: [/a], algorithms: ["hits:A"]}
""",
        3,
        "It has to be a list of user names",
    ),
    "a batch system that does not exist": (
        """
name: demo
backend: slrum
calibrations:
  - {name: gain, collector: "hits:C", input_files: [/a], algorithms: ["hits:A"]}
""",
        3,
        "Did you mean 'slurm'",
    ),
    "an argument that no batch system has": (
        """
name: demo
calibrations:
  - name: gain
    collector: hits:C
    input_files: [/a]
    algorithms: ["hits:A"]
    backend_args:
      queue: long
      memry: 4 GB
""",
        10,
        "There is no argument 'memry'",
    ),
    "a definition that waits for itself": (
        """
name: demo
dag:
  after: [other, demo.gain]
calibrations:
  - {name: gain, collector: "hits:C", input_files: [/a], algorithms: ["hits:A"]}
""",
        4,
        "runs after 'demo.gain', which is its own",
    ),
    "a command that is one text": (
        """
name: demo
publish:
  command: upload {database}
calibrations:
  - {name: gain, collector: "hits:C", input_files: [/a], algorithms: ["hits:A"]}
""",
        4,
        "Write a list of words",
    ),
    "a budget that does not suffice": (
        """
name: demo
job_budget: 1
calibrations:
  - {name: a, collector: "hits:C", input_files: [/a], algorithms: ["hits:A"]}
  - {name: b, collector: "hits:C", input_files: [/a], algorithms: ["hits:A"]}
""",
        3,
        "job_budget is 1, but 2 collections share it",
    ),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_an_error_with_its_line(tmp_path: Path, name: str) -> None:
    text, line, said = TRAPS[name]
    file = tmp_path / "demo.yaml"
    file.write_text(text)
    with pytest.raises(DefinitionError) as caught:
        read_definition(file)
    error = caught.value.causes[0] if caught.value.causes else caught.value
    assert said in f"{error.what} {error.hint}"
    # The text begins with an empty line.
    assert error.line == line
    assert f"> {line:>{len(str(min(line + 2, len(text.splitlines()))))}} |" in str(error)
