"""LINe inside other libraries: upstream OpenOOD and pytorch-ood."""
