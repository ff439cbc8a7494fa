"""Text to content blocks, incrementally: pure feed() and finish(), no I/O."""
