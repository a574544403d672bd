"""``python -m line_plugin.cli``: the ``openood`` command without its console script."""

import sys

from line_plugin.cli import main

sys.exit(main())
