"""The decorator `@task.batch`: a Python function runs as a job of a batch system."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow.sdk import Context
from airflow.sdk.bases.decorator import (
    DecoratedOperator,
    TaskDecorator,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.file_names import RESULT_FILE
from airflow_provider_caf.core.files import read_json
from airflow_provider_caf.core.json_form import normalise_json
from airflow_provider_caf.definitions.jobs import Jobs
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.operators.base import failing_for_good
from airflow_provider_caf.operators.jobs import BatchJobOperator
from airflow_provider_caf.steps.function_code import read_function
from airflow_provider_caf.steps.task_jobs import JobContent, TaskJobs

_NOT_FOR_FUNCTIONS = ("command", "commands", "arguments", "input_files", "max_files_per_job", "max_jobs", "max_failed")


class BatchFunctionOperator(DecoratedOperator, BatchJobOperator):
    """Call a Python function in a job, and return what it returns. People write it as `@task.batch(…)`.

    Arguments and result are JSON. The function's module travels with the job, and what that imports of yours; of a
    function in a DAG file only its own text does, so it has to import all that it uses. The Python of the job is 3.9 or
    newer, and need not have Airflow.

    Beside those below it has the arguments of `BatchJobOperator` but for what says which commands run.

    :param python_callable: the function.
    :param op_args: its arguments.
    :param op_kwargs: its arguments by name. One that has the name of a word of Airflow's context, such as `ds`, gets
        its value.
    """

    custom_operator_name = "@task.batch"
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *BatchJobOperator.template_fields)
    template_fields_renderers = {  # noqa: RUF012
        **DecoratedOperator.template_fields_renderers,
        **BatchJobOperator.template_fields_renderers,
    }

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._code = read_function(python_callable)
        wrong = [word for word in _NOT_FOR_FUNCTIONS if kwargs.get(word) is not None]
        if wrong:
            raise DefinitionError(
                f"The task of function {self._code.name!r} has {wrong[0]!r}.",
                hint="A function is one job, with arguments of its own. BatchJobOperator runs commands.",
            )
        self._call: dict[str, list[Any] | dict[str, Any]] = {}
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs)

    def execute(self, context: Context) -> Any:
        """Call the function in a job, and return its result.

        :raises AirflowFailException: if its arguments have no JSON form, or the job has failed for good.
        """
        with failing_for_good(context):
            where = f"function {self._code.name!r}"
            known = {**context, **self.op_kwargs}
            kwargs = determine_kwargs(self.python_callable, self.op_args, known)
            self._call = {
                "args": [normalise_json(value, f"argument of {where}") for value in self.op_args],
                "kwargs": {
                    name: normalise_json(value, f"argument {name!r} of {where}") for name, value in kwargs.items()
                },
            }
        return super().execute(context)

    def read_words(self, *, templates: bool = False) -> Jobs:
        """Return the arguments, checked; the function stands for the command."""
        self.command = [self._code.name]
        return super().read_words(templates=templates)

    def build_content(self, words: Jobs, folder: Path) -> JobContent:
        """Return what travels with the job."""
        reference = self._code.write(folder)
        return replace(
            super().build_content(words, folder),
            references=(reference,),
            function={"reference": reference, **self._call},
        )

    def build_result(self, run: TaskJobs, seen: Observation) -> Any:
        """Return what the function returned."""
        super().build_result(run, seen)
        (verdict,) = seen.verdicts.values()
        file = next(path for path in verdict.outputs if path.name == RESULT_FILE)
        return read_json(file, f"The result of function {self._code.name!r}")


def batch_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Return the decorator behind `@task.batch`."""
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=BatchFunctionOperator, **kwargs
    )
