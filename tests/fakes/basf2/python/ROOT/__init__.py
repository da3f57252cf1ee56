"""The real ROOT, with the classes of Belle II in it, which a release's ROOT loads when they are needed."""

import glob
import os
import sys

_folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_before = list(sys.path)
sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != _folder]
del sys.modules["ROOT"]
try:
    import ROOT
finally:
    sys.path[:] = _before
_header = os.path.join(os.path.dirname(_folder), "include", "Belle2.h")
if not ROOT.gInterpreter.Declare(f'#include "{_header}"'):
    raise ImportError(f"{_header} cannot be compiled")


def _expand(name):
    """Give the files that a pattern names; what matches nothing stays as it is."""
    name = os.path.expanduser(os.path.expandvars(name))
    return sorted(glob.glob(name)) or [name]


def _set_input_files(self, names):
    """Let an algorithm read files, as `CalibrationAlgorithm::setInputFileNames` does.

    Patterns are expanded; files that are not there are left out; each counts once, by its real path.
    """
    from basf2 import B2ERROR, B2FATAL, B2WARNING

    if not isinstance(names, (list, ROOT.std.vector["std::string"])):
        B2ERROR("Tried to set the input files but we didn't receive a Python list.")
        return
    if not len(names):
        B2WARNING("You have called setInputFileNames() with an empty list. Did you mean to do that?")
        return
    paths = [path for name in names for path in _expand(str(name))]
    for path in paths:
        if not os.path.exists(path):
            B2WARNING(f"Couldn't find the file {path}")
    files = sorted({os.path.realpath(path) for path in paths if os.path.exists(path)})
    if not files:
        B2WARNING("No valid files specified!")
        return
    for path in files:
        try:
            ROOT.TFile.Open(path).Close()
        except OSError:
            B2FATAL(f"Couldn't open input file {path}")
    if not self.hasRunRange(files[0]):
        B2FATAL(f"The input file {files[0]} does not contain a RunRange object at {self.getPrefix()}/RunRange.")
    self.setFoundFiles(files)


ROOT.Belle2.CalibrationAlgorithm.setInputFileNames = _set_input_files
# As there: a list of texts.
ROOT.Belle2.CalibrationAlgorithm.getInputFileNames = lambda self: [str(name) for name in self.getVecInputFileNames()]
if "basf2._conditions" in sys.modules:
    sys.modules["basf2._conditions"].conditions.push()
