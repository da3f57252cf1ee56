"""Know whether the stand-in for basf2 has changed since its own tests were last passed.

They take minutes and test nothing of the package. `make test-fakes` runs them and writes down what they have tested.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
STAMP = HERE / "basf2.tested"
TEST = PROJECT / "tests" / "unit" / "test_fake_basf2.py"


def is_tested() -> bool:
    """Tell whether the tests have passed with the stand-in as it is; `CAF_TEST_FAKES` asks for them all the same."""
    return not os.environ.get("CAF_TEST_FAKES") and STAMP.exists() and STAMP.read_text("ascii").strip() == find_digest()


def find_digest() -> str:
    """Give the SHA-256 of the stand-in, of its tests, and of the version of ROOT that it compiles with."""
    digest = hashlib.sha256()
    files = [path for path in (HERE / "basf2").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    for path in (*sorted(files), TEST):
        digest.update(f"{path.relative_to(PROJECT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    for line in re.findall(r"(?mi)^root==.*$", (PROJECT / "constraints.txt").read_text("utf-8")):
        digest.update(line.encode())
    return digest.hexdigest()


if __name__ == "__main__":
    STAMP.write_text(find_digest() + "\n", "ascii")
