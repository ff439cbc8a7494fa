"""What the program tells its operator."""
