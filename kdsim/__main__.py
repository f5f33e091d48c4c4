"""`python -m kdsim`."""

import sys

from kdsim.cli import main

sys.exit(main())
