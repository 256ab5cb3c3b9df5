"""What the service shows of itself: metrics, events, logs. Nothing here can change or delay an answer."""
