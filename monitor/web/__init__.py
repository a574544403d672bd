"""The HTTP side of a monitor process: health, metrics, alerts, mutes and the status page."""
