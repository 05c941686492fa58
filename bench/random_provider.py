"""The provider of ``bench/test_random.py``: generators of the import, from which an action draws."""

from __future__ import annotations

import os
import random
import time

import numpy

from arbd import Provider

random.seed(1)
numpy.random.seed(1)
generator = numpy.random.default_rng()

provider = Provider(name="random", execution_timeout=30)


@provider.actions.register(name="draw")
def draw() -> list[float]:
    """The process, and a number of each generator."""
    time.sleep(0.02)  # so that every worker gets some
    return [os.getpid(), random.random(), numpy.random.random_sample(), generator.random()]
