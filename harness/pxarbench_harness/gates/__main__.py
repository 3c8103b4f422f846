import sys

from .. import run
from .cli import main

run.end_when_cancelled()
sys.exit(main())
