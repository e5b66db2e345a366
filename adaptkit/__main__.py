"""``python -m adaptkit`` is the command ``adaptkit``."""

import sys

from adaptkit.cli import main

sys.exit(main())
