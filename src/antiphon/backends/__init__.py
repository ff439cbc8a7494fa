"""Request to events: what answers a request, whatever is behind it."""
