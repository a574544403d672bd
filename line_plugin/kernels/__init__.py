"""The scoring rule, fast. :mod:`.scorer` chooses which implementation runs where.

The rule itself is :mod:`line_plugin.math.scoring`. :mod:`.cpu` is numpy's and numba's and needs no torch, so nothing
is imported here.
"""
