"""The mathematics of LINe and its evaluation, as functions of tensors or arrays without any input or output."""
