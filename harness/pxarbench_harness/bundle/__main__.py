"""`python3 -m pxarbench_harness.bundle bundle|replay ...`: what ci/bundle and ci/replay call."""

import sys

from .. import run
from .cli import main

run.end_when_cancelled()
sys.exit(main())
