"""Have settings, but no get_calibrations."""

# mypy: ignore-errors

from prompt import CalibrationSettings

settings = CalibrationSettings(
    name="No Function",
    expert_username="expert",
    description=__doc__,
    input_data_formats=["raw"],
    input_data_names=["raw_physics"],
    depends_on=[],
)
