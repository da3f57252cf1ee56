"""The random numbers of the modules. A script's own are not touched."""

import random

generator = random.Random()


def set_random_seed(seed):
    """Begin the random numbers of the modules anew."""
    generator.seed(str(seed))
