"""LINe itself: settings, fit, scoring, calibration and the artifact."""
