"""The experts of the panel, one file each: confidences of features that err in different ways, and their sum.

Read them beside their papers. They are literal and take float64 as they take float32. The tests hold what
:mod:`line_plugin.kernels.experts` computes fast to these.
"""
