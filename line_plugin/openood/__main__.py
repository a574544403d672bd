"""``python -m line_plugin.openood``: run one of upstream's scripts with LINe registered."""

import sys

from line_plugin.integrations.openood.launcher import main

if __name__ == "__main__":
    sys.exit(main())
