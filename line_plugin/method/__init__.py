"""LINe and the panel: their settings, fit, scores, calibration and artifact."""
