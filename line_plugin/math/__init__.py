"""The mathematics of LINe and its evaluation: tensors in, tensors out, no input or output."""
