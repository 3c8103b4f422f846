"""`python3 -m pxarbench_harness.bundle bundle|replay ...`: what ci/bundle and ci/replay call."""

import sys

from .cli import main

sys.exit(main())
