"""The panel's experts, one in each file, and the sum of their confidences.

An expert is a confidence for features. The experts make different errors, and the panel adds them. They are written as
in their papers, for float32 and float64. Tests compare the fast implementations of :mod:`line_plugin.kernels.experts`
with them.
"""
