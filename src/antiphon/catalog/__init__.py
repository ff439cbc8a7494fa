"""Which model: names to files."""
