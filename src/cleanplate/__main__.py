"""`python -m cleanplate` is the command `cleanplate`."""

import sys

from cleanplate.cli import main

sys.exit(main())
