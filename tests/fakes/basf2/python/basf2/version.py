"""Which basf2 this is. `import basf2` alone does not import it."""

import os

version = "0" * 40
release = os.environ.get("BELLE2_RELEASE", "unknown")


def get_version():
    """Give the commit that the framework was built of."""
    return version
