"""The blocked kernel of the scoring rule for CPUs, in numba. Importing this folder imports none of it: a process
that finds the compiled code on disk (:mod:`line_plugin.kernels.cpu.kept`) never needs numba.

Every logit ``g[n, k]`` is a chain of fused multiply-adds over the neurons, in an order that depends on the row alone,
so a row has the same bits in every batch, at every place and on every thread. What makes it fast:

* The class prediction is screened: logits from bytes (or float32) come with a bound on their error, and only classes
  that can still be the largest are computed exactly, in float64.
* A tile of the transposed head (some neurons x some classes) stays in the first-level cache while a group of rows
  passes over it, and the logits of a tile stay in registers.
* Each row walks a list of only those neurons that can count. ``z = 0``, or a floor that no weight of the neuron is
  above (masked neurons have +inf): left out. A floor below every weight of the neuron: multiplied without a
  comparison. Any other: ``W > floor`` decides lane by lane.
* Rows are sorted by predicted class, and a few rows of one class share the loads and the comparisons.
"""
