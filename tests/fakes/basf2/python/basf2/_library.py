"""The modules that are registered."""

from basf2._collectors import CaTest, HistoManager
from basf2._inputs import EventInfoSetter, RootInput
from basf2._modules import Module
from basf2._params import ListOf
from basf2._trigger import TriggerSkim


class SeqRootInput(RootInput):
    """Read events; here from ROOT files as well."""


class Progress(Module):
    """Do nothing."""

    PARAMS = {"maxN": 3}


class ProgressBar(Module):
    """Do nothing."""

    PARAMS = {}


class Gearbox(Module):
    """Do nothing."""

    PARAMS = {"fileName": "", "backends": ListOf(str), "override": ListOf(tuple)}


class Geometry(Module):
    """Do nothing."""

    PARAMS = {"components": ListOf(str), "excludedComponents": ListOf(str), "useDB": True, "ignoreIfPresent": True}


MODULES = {
    each.__name__: each
    for each in (
        CaTest,
        EventInfoSetter,
        Gearbox,
        Geometry,
        HistoManager,
        Progress,
        ProgressBar,
        RootInput,
        SeqRootInput,
        TriggerSkim,
    )
}
