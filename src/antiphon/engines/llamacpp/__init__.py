"""The embedded engine: llama.cpp through its binding, scheduled by us."""
