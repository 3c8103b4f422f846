import signal
import sys

from .cli import main

# A job that is cancelled is interrupted, not killed: what it made in /dev/shm has to go.
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.exit(main())
