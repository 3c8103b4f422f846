"""`python3 -m pxarbench_harness.bundle bundle|replay ...`: what ci/bundle and ci/replay call."""

import signal
import sys

from .cli import main

# A job that is cancelled is interrupted, not killed: what was unpacked, stores, and what runs in them have to go.
for number in (signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler)
sys.exit(main())
