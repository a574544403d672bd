"""Fast implementations of LINe's scoring rule. :mod:`.scorer` chooses the one for each device.

The rule itself is written in :mod:`line_plugin.math.scoring`. :mod:`.cpu` uses numpy and numba and works without torch,
so this module imports nothing.
"""
