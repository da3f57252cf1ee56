"""The user's own lines for a batch system: what breaks the watching is refused, in every spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.extra_lines import read_directives
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import DefinitionError

WHERE = "array caf_a"
REFUSAL = r"of array caf_a (is refused for .*: .*\w\.|would change what is queued)"

REFUSED = {
    "slurm": [
        *("--clusters=serial", "#SBATCH --clusters=serial", "#SBATCH --clusters serial", "#SBATCH -M serial"),
        *("-Mserial", "#SBATCH --cluster=serial", "--cl=serial", "#SBATCH --qos=x --clusters=all", "-HM serial"),
        *("#SBATCH --wait", "-W", "#SBATCH -HW", "--wai", "#SBATCH --mem=1 -W # we wait", '#SBATCH "--wait"'),
        *("--dependency=afterok:1", "-d afterok:1", "-dsingleton", "--dep=singleton", "#SBATCH --dependency singleton"),
        *("--array=0-3", "-a 1", "-J other", "--job-name=x", "--quiet", "-Q", "--test-only", "--test", "-o /dev/null"),
        *("--parsable --wrap=date", "#SBATCH hetjob", "--export=ALL", "-D /tmp", "--uid=0", "--version", "-h"),
    ],
    "pbs": [
        *(
            "#PBS -W depend=afterok:1",
            "#PBS -Wdepend=afterok:1",
            "#PBS -W umask=22,depend=afterok:1",
            "#PBS -W block=true",
        ),
        *(
            "#PBS -J 0-3",
            "#PBS -J0-3",
            "#PBS -N other",
            "#PBS -hN other",
            "#PBS -I",
            "#PBS -z",
            "#PBS -l place=excl -z",
        ),
        *("#PBS -o /x", "#PBS -e /x", "#PBS -m abe", "#PBS -X", '#PBS "-W" "block = true"'),
    ],
    "torque": ["#PBS -t 0-3", "#PBS -W depend=afterokarray:1", "#PBS -I", "#PBS -z", "#PBS -nz"],
    "lsf": [
        *("#BSUB -w done(1)", "#BSUB -w 'done(1) && ended(2)'", "#BSUB -wdone(1)", "#BSUB -ti", "#BSUB -K"),
        *("#BSUB -J other", "#BSUB -J other[1-3]", "#BSUB -I", "#BSUB -Is", "#BSUB -ISp", "#BSUB -oo /x", "#BSUB -o x"),
        *("#BSUB -q long -K", "#BSUB -pack file", "#BSUB -h"),
    ],
    "htcondor": [
        *("queue", "Queue 5", "  queue a from b", "x = 1 \\", "leave_in_queue = false", "+LeaveJobInQueue = False"),
        *("noop_job = true", 'My.CafName = "x"', '+CafName = "x"', "Executable = /bin/true", "arguments = 1"),
        *("initialdir = /tmp", "cron_minute = 5", "MY.IsNoopJob = true"),
    ],
}
GOOD = {
    "slurm": [
        *("--constraint=ssd", "#SBATCH --qos=calibration", "--wait-all-nodes=1", "--cluster-constraint=x", "-C d,W,M"),
        *(
            "--mail-type=END -c 4",
            "#SBATCH --comment='-W is not said'",
            "--hold",
            "--export-file=x",
            "-t 10",
            "-w host",
        ),
        *("--wckey=x", "#SBATCH --array-is-no-option", "#SBATCH # --wait", "--deadline=now+1days", "--no-requeue"),
    ],
    "pbs": [
        *("#PBS -l place=excl", "#PBS -r n", "#PBS -h", "#PBS -W umask=22,group_list=z", "#PBS -P block", "#PBS -lJ=z"),
        *("#PBS -A INz", "#PBS -W sandbox=PRIVATE", "#PBS -v JOB=-J"),
    ],
    "torque": ["#PBS -l nodes=1", "#PBS -W group_list=muon", "#PBS -n"],
    "lsf": ["#BSUB -sp 70", "#BSUB -env none", "#BSUB -H", "#BSUB -Jd text", "#BSUB -wa URG -wt 5", "#BSUB -app K"],
    "htcondor": [
        *('+JobFlavour = "longlunch"', "requirements = HasCVMFS", "hold = true", "max_idle = 100", "log = /w/x.log"),
        *("queue_name = x", "on_exit_remove = true", "transfer_input_files = /w/x", "deferral_time = 1"),
    ],
    "local": ["anything at all"],
}


@pytest.mark.parametrize(("system", "line"), [(system, line) for system, lines in REFUSED.items() for line in lines])
def test_what_breaks_the_watching_is_refused_with_the_reason(system: str, line: str) -> None:
    with pytest.raises(DefinitionError, match=REFUSAL):
        read_directives(system, Resources(extra_lines=("", line) if system == "slurm" else (line,)), WHERE)


@pytest.mark.parametrize(("system", "line"), [(system, line) for system, lines in GOOD.items() for line in lines])
def test_all_others_are_passed_on(system: str, line: str) -> None:
    found = read_directives(system, Resources(extra_lines=(line,)), WHERE)
    if system == "slurm" and line.startswith("-"):
        line = f"#SBATCH {line}"
    assert found == (() if system == "local" else (line,))


@pytest.mark.parametrize(
    ("system", "line"),
    [("slurm", "module load root"), ("pbs", "#SBATCH -q a"), ("torque", "#PBS"), ("lsf", " #BSUB -q a"), ("lsf", "")],
)
def test_what_is_no_line_of_the_system_is_refused(system: str, line: str) -> None:
    with pytest.raises(DefinitionError, match=r"The extra line .* of array caf_a is no"):
        read_directives(system, Resources(extra_lines=(line,)), WHERE)


@pytest.mark.parametrize(
    "resources",
    [
        Resources(environment={"SBATCH_CLUSTERS": "serial"}),
        Resources(environment={"SLURM_CLUSTERS": "serial"}),
        Resources(setup=("export SBATCH_WAIT=1",)),
    ],
)
def test_a_variable_that_only_the_job_would_see_is_refused(resources: Resources) -> None:
    with pytest.raises(DefinitionError, match="sbatch does not"):
        read_directives("slurm", resources, WHERE)
    assert read_directives("pbs", resources, WHERE) == ()


@pytest.mark.parametrize("line", ["transfer_input_files = a", "Should_Transfer_Files = no", "transfer_output_files ="])
def test_what_travels_is_said_in_one_place(line: str) -> None:
    with pytest.raises(DefinitionError, match="this package says what travels"):
        read_directives("htcondor", Resources(extra_lines=(line,), transfer_files=True), WHERE)


@given(st.sampled_from(["slurm", "pbs", "torque", "lsf"]), st.text(st.characters(exclude_characters="\n\r\0")))
def test_any_line_is_passed_on_as_it_is_or_refused(system: str, text: str) -> None:
    line = {"slurm": "#SBATCH", "lsf": "#BSUB"}.get(system, "#PBS") + f" {text}"
    try:
        found = read_directives(system, Resources(extra_lines=(line,)), WHERE)
    except DefinitionError:
        return
    assert [each.strip() for each in found] == [line.strip()]
