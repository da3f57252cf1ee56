"""How a job is split into subjobs, and the arguments of each: the names that scripts know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from itertools import count
from typing import Any

from airflow_provider_caf.core.splitting import Splitting, plan_subjobs


class SplitterError(Exception):
    """A splitter was not set up."""


class ArgumentsGenerator:
    """Make the arguments of one subjob after the other.

    :param generator_function: gives a generator that first yields None; then it is sent each subjob, and yields its
        arguments.
    """

    def __init__(self, generator_function: Callable[..., Generator[Any, Any, Any]], *args: Any, **kwargs: Any) -> None:
        self.generator_function = generator_function
        self.args = args
        self.kwargs = kwargs

    @property
    def generator(self) -> Generator[Any, Any, Any]:
        """Return a generator that begins anew, ready to be sent a subjob."""
        generator = self.generator_function(*self.args, **self.kwargs)
        next(generator)
        return generator


def range_arguments(start: int = 0, stop: int | None = None, step: int = 1) -> Generator[tuple[int] | None, Any, None]:
    """Yield whole numbers, each in a tuple."""
    yield None
    number = start
    while stop is None or number < stop:
        yield (number,)
        number += step


class SubjobSplitter(ABC):
    """Split a job into subjobs.

    :param arguments_generator: the arguments of the subjobs.
    """

    def __init__(self, *, arguments_generator: ArgumentsGenerator | None = None) -> None:
        self.arguments_generator = arguments_generator

    @abstractmethod
    def create_subjobs(self, job: Any) -> None:
        """Make the subjobs of a job."""

    def assign_arguments(self, job: Any) -> None:
        """Set the arguments of each subjob.

        :raises SplitterError: if there are fewer than subjobs.
        """
        if self.arguments_generator is None:
            return
        generator = self.arguments_generator.generator
        for subjob in sorted(job.subjobs.values(), key=lambda subjob: subjob.id):
            try:
                subjob.args = generator.send(subjob)
            except StopIteration as end:
                raise SplitterError(f"There are no arguments for the subjob {subjob.id}.") from end

    def _create(self, job: Any, splitting: Splitting) -> None:
        files = list(job.input_files)
        for plan in plan_subjobs(files, splitting) if files else ():
            job.create_subjob(plan.index, input_files=plan.files)
        self.assign_arguments(job)


class MaxFilesSplitter(SubjobSplitter):
    """At most so many files in a subjob."""

    def __init__(self, *, arguments_generator: ArgumentsGenerator | None = None, max_files_per_subjob: int = 1) -> None:
        super().__init__(arguments_generator=arguments_generator)
        if max_files_per_subjob < 1:
            raise SplitterError(f"max_files_per_subjob is {max_files_per_subjob}: it has to be at least 1.")
        self.max_files_per_subjob = max_files_per_subjob

    def create_subjobs(self, job: Any) -> None:
        self._create(job, Splitting(max_files_per_collector_job=self.max_files_per_subjob))


class MaxSubjobsSplitter(SubjobSplitter):
    """At most so many subjobs, with nearly the same number of files."""

    def __init__(self, *, arguments_generator: ArgumentsGenerator | None = None, max_subjobs: int = 1000) -> None:
        super().__init__(arguments_generator=arguments_generator)
        if max_subjobs < 1:
            raise SplitterError(f"max_subjobs is {max_subjobs}: it has to be at least 1.")
        self.max_subjobs = max_subjobs

    def create_subjobs(self, job: Any) -> None:
        self._create(job, Splitting(max_collector_jobs=self.max_subjobs))


class SplitterLimit:
    """An attribute that is the limit of its owner's `splitter`; to set it sets the splitter.

    :param splitter: the class that has this limit.
    :param limit: the name that the limit has there.
    :param default: for an owner whose splitter has no such limit; without one that is an `AttributeError`.
    """

    def __init__(self, splitter: Callable[..., SubjobSplitter], limit: str, *default: None) -> None:
        self._splitter = splitter
        self._limit = limit
        self._default = default

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self if owner is None else getattr(owner.splitter, self._limit, *self._default)

    def __set__(self, owner: Any, value: int | None) -> None:
        owner.splitter = None if value is None else self._splitter(**{self._limit: value})


class ArgumentsSplitter(SubjobSplitter):
    """A subjob for each of the arguments, with all files."""

    def __init__(self, *, arguments_generator: ArgumentsGenerator, max_subjobs: int | None = None) -> None:
        super().__init__(arguments_generator=arguments_generator)
        self.max_subjobs = max_subjobs

    def create_subjobs(self, job: Any) -> None:
        assert self.arguments_generator is not None
        generator = self.arguments_generator.generator
        for number in count():
            # The generator may look at the subjob before it says that there is none.
            subjob = job.create_subjob(number, input_files=job.input_files)
            try:
                subjob.args = generator.send(subjob)
            except StopIteration:
                del job.subjobs[number]
                return
            if self.max_subjobs is not None and number >= self.max_subjobs:
                raise SplitterError(f"The arguments make more than {self.max_subjobs} subjobs.")
