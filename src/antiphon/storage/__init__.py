"""What outlives the process, in SQLite files under the data directory."""
