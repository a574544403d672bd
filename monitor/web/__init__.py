"""What a monitor process serves over HTTP: health, metrics, alerts, mutes, and pages for people."""
