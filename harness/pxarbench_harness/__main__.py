import signal
import sys

from .cli import main

# A job that is cancelled, or whose terminal is closed, is interrupted, not killed: its servers and folders have to go.
for number in (signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
        signal.signal(number, signal.default_int_handler)
sys.exit(main())
