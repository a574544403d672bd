"""Run ``ood-monitor`` with nothing in reach but what the image installs: everything else cannot be imported.

As a command: ``python -m tests.deploy.only_these ARGUMENTS``, which are those of ``ood-monitor``.
"""

from __future__ import annotations

import sys

from tests.parts import Refusing, declared, installed

EXTRAS = ["monitor", "formats"]


def image() -> set[str]:
    """What the image installs."""
    return installed(declared(EXTRAS))


if __name__ == "__main__":
    sys.meta_path.insert(0, Refusing(image()))
    sys.argv[0] = "ood-monitor"
    from monitor.cli import main

    sys.exit(main())
