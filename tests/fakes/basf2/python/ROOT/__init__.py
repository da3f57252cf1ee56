"""The real ROOT, with the classes of Belle II in it, which a release's ROOT loads when they are needed."""

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
# As there: a list of texts.
ROOT.Belle2.CalibrationAlgorithm.getInputFileNames = lambda self: [str(name) for name in self.getVecInputFileNames()]
if "basf2._conditions" in sys.modules:
    sys.modules["basf2._conditions"].conditions.push()
