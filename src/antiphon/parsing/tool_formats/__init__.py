"""How models write tool calls: one format a file, and the table of them in `table.py`."""
