"""The fast kernel of the scoring rule for CPUs, in numba. Importing this package does not import numba: a
process that finds the compiled code on disk (:mod:`line_plugin.kernels.cpu.kept`) never does.

Every logit ``g[n, k]`` is a chain of fused multiply-adds over the neurons. Their order depends on the row alone, so a
row has the same bits in every batch, at every place and on every thread. Four things make it fast:

* The class prediction is screened: logits from bytes (or float32) come with a bound on their error, and only classes
  that can still be the largest are computed exactly, in float64.
* A tile of the transposed head (some neurons x some classes) stays in the first-level cache while a group of rows
  passes over it, and the logits of a tile stay in registers.
* Each row walks a list of the neurons that can count. A neuron is left out if ``z = 0``, or if no weight of it is above
  the floor (masked neurons have the floor +inf). If the floor is below every weight of the neuron, the weights are
  multiplied without a comparison. Otherwise ``W > floor`` decides lane by lane.
* Rows are sorted by predicted class, and a few rows of one class share the loads and the comparisons.
"""
