"""The settings of calibration and validation scripts, and the filters of input data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from airflow_provider_caf.core.suggestions import suggest_word
from airflow_provider_caf.worker.basf2.dropin.prompt.release_lists import read_release_lists
from airflow_provider_caf.worker.basf2.dropin.warn import warn

prompt_script_package = "prompt.calibrations."
prompt_script_dir = "calibration/scripts/prompt/calibrations"
prompt_validation_script_package = "prompt.validations."
prompt_validation_script_dir = "calibration/scripts/prompt/validations"

_MAX_NAME_LENGTH = 64

_FILTERS = {
    "Magnet": ("On", "Off", "Either"),
    "Beam Energy": ("No Beam", "4S", "Continuum", "", "Scan"),
    "Run Type": ("beam", "cosmic", "debug", "null", "physics"),
    "Data Tag": (
        "hlt_skim",
        "bhabha_all_calib",
        "bhabha_combined_calib",
        "cosmic_calib",
        "gamma_gamma_calib",
        "hadron_calib",
        "btocharm_calib",
        "mumu_tight_or_highm_calib",
        "offip_calib",
        "radmumu_calib",
        "random_calib",
        "delayedbhabha_calib",
        "single_gamma_mc",
    ),
    "Data Quality Tag": (
        ">=30 Minute Run",
        "Bad For Alignment",
        "Good",
        "Good Shifter",
        "Good For PXD",
        "Good Or Recoverable",
        "Good Or Recoverable Shifter",
    ),
}
"""Of the releases up to 11."""

_RELEASE = read_release_lists()

_told: set[str] = set()
"""Names that are not known, of which a script has been told where it looked them up."""


class _Names(dict[str, Any]):
    """Names by themselves. Each release adds some: one that is not known is given, with a warning.

    :param what: the names are, in the singular.
    :param build: the value of a name that is not known.
    """

    def __init__(self, names: Mapping[str, Any], what: str, build: Callable[[str], Any]) -> None:
        super().__init__(names)
        self._what = what
        self._build = build

    def __missing__(self, name: str) -> Any:
        _warn_of_unknown(name, self, self._what)
        _told.add(name)
        return self._build(name)


def _open_category(category: str, names: Mapping[str, str]) -> _Names:
    return _Names(names, f"data filter of the category {category!r}", str)


INPUT_DATA_FILTERS: dict[str, dict[str, str]] = _Names(
    {
        category: _open_category(category, names if isinstance(names, Mapping) else dict(zip(names, names)))
        for category, names in _RELEASE.get("INPUT_DATA_FILTERS", _FILTERS).items()
    },
    "category of data filters",
    lambda category: _open_category(category, {}),
)
"""Category → the filters in it, as the release has them, or those that are known without one.

Some releases write `category: name`; both are read.
"""


class _CalibrationSettings(NamedTuple):
    name: str
    expert_username: str
    subsystem: str | None = None
    description: str | None = None
    input_data_formats: Any = None
    input_data_names: Any = None
    input_data_filters: Any = None
    depends_on: Any = None
    expert_config: Any = None
    produced_payloads: Any = None


class CalibrationSettings(_CalibrationSettings):
    """The settings of a calibration script.

    :param name: unique, at most 64 letters.
    :param subsystem: whose it is. Older releases have no such argument: there the third one is the description, which
        is understood, too.
    :param input_data_formats: of `allowed_data_formats`; another one is a warning.
    :param input_data_names: the keys that it reads in `input_data`.
    :param input_data_filters: which data are meant, name by name; `NOT` in front excludes. One that is not in
        `INPUT_DATA_FILTERS` is a warning.
    :param depends_on: the settings of the scripts that run before.
    :param expert_config: options with their defaults; JSON.
    :param produced_payloads: the names of its payloads.
    :raises ValueError: if one of them has a wrong value.
    :raises TypeError: if one is of another type.
    """

    allowed_data_formats = frozenset(_RELEASE.get("allowed_data_formats", ("raw", "cdst", "mdst", "udst")))

    def __new__(cls, *values: Any, **options: Any) -> CalibrationSettings:
        """Check it all."""
        given = super().__new__(cls, *_insert_subsystem(values, options), **options)
        _check_name(given.name)
        if not isinstance(given.description, (str, type(None))):
            raise TypeError(
                f"description is a {type(given.description).__name__}: the arguments are name, expert_username, "
                "subsystem, description, … in this order. Give them by name."
            )
        formats = frozenset(name.lower() for name in given.input_data_formats or ())
        if not formats:
            raise ValueError("input_data_formats is empty: name at least one data format.")
        for name in sorted(formats - cls.allowed_data_formats):
            _warn_of_unknown(name, cls.allowed_data_formats, "data format")
        names = frozenset(given.input_data_names or ())
        if not names:
            raise ValueError("input_data_names is empty: name at least one input.")
        needed = list(given.depends_on or ())
        for settings in needed:
            if not isinstance(settings, cls):
                raise TypeError(
                    f"depends_on has a {type(settings).__name__} in it: give the settings of other scripts."
                )
        return given._replace(
            input_data_formats=formats,
            input_data_names=names,
            input_data_filters=_check_filters(given.input_data_filters or {}, names),
            depends_on=needed,
            expert_config=_check_config(given.expert_config),
            produced_payloads=list(given.produced_payloads or ()),
        )

    def json_dumps(self) -> str:
        """Return it as JSON."""
        words = {
            **self._asdict(),
            "input_data_formats": sorted(self.input_data_formats),
            "input_data_names": sorted(self.input_data_names),
            "depends_on": [settings.name for settings in self.depends_on],
        }
        return json.dumps(words)

    def __str__(self) -> str:
        return _show(self, json.loads(self.json_dumps()))


class _ValidationSettings(NamedTuple):
    name: str
    description: str | None
    download_files: Any = None
    expert_config: Any = None


class ValidationSettings(_ValidationSettings):
    """The settings of a validation script.

    :param name: that of the calibration script.
    :param download_files: which of the files that it writes are kept.
    :raises ValueError: if one of them has a wrong value.
    """

    def __new__(cls, *values: Any, **options: Any) -> ValidationSettings:
        """Check it all."""
        given = super().__new__(cls, *values, **options)
        _check_name(given.name)
        files, config = list(given.download_files or ()), _check_config(given.expert_config)
        return given._replace(download_files=files, expert_config=config)

    def json_dumps(self) -> str:
        """Return it as JSON."""
        return json.dumps(self._asdict())

    def __str__(self) -> str:
        return _show(self, self._asdict())


def _insert_subsystem(values: Sequence[Any], options: Mapping[str, Any]) -> Sequence[Any]:
    """Return arguments in the order of the newest releases; in those of older ones the description is the third.

    Either text could be meant by its place, so what follows it decides: the newest have two of them, older ones go on
    with the data formats.

    :raises TypeError: if there is no description in either order.
    """
    fourth = options.get("description", 0) if len(values) == 3 else values[3] if len(values) > 3 else None
    if not isinstance(fourth, (str, type(None))):
        return (*values[:2], None, *values[2:])
    if len(values) < 3 and "description" not in options:
        raise TypeError("CalibrationSettings has no description: a script gives its __doc__.")
    return values


def _check_name(name: str) -> None:
    if len(name) > _MAX_NAME_LENGTH:
        raise ValueError(f"The name {name!r} is longer than {_MAX_NAME_LENGTH} letters.")


def _check_config(config: Any) -> dict[str, Any]:
    if not config:
        return {}
    if not isinstance(config, dict):
        raise TypeError(f"expert_config is a {type(config).__name__}: it has to be a dictionary.")
    # What JSON cannot say is a TypeError by itself.
    json.dumps(config)
    return config


def _check_filters(filters: Mapping[str, Any], names: frozenset[str]) -> dict[str, list[str]]:
    if not filters:
        return {}
    if set(filters) != names:
        raise ValueError("The keys of input_data_filters are not those of input_data_names.")
    known = {name for listed in INPUT_DATA_FILTERS.values() for pair in listed.items() for name in pair}
    known |= {f"{category}: {name}" for category, listed in INPUT_DATA_FILTERS.items() for name in listed}
    for name in dict.fromkeys(name for listed in filters.values() for name in listed):
        plain = name[len("NOT") :].lstrip() if name.startswith("NOT") else name
        if plain not in known | _told:
            _warn_of_unknown(plain, known, "data filter")
    return {name: list(listed) for name, listed in filters.items()}


def _warn_of_unknown(name: str, known: Iterable[str], what: str) -> None:
    near = suggest_word(name, known)
    hint = "" if near is None else f" Did you mean {near!r}?"
    warn(f"There is no {what} {name!r} here; it is taken as it is.{hint}")


def _show(settings: Any, words: Mapping[str, Any]) -> str:
    lines = [f"  {word}={value!r}" for word, value in words.items() if word != "name"]
    return "\n".join([f"{type(settings).__name__}(name={settings.name!r}):", *lines])
