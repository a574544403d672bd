"""What a monitor process serves over HTTP: health, metrics, alerts, mutes and the status page."""
