"""``python -m adagp``."""

import sys

from .cli import main

sys.exit(main())
