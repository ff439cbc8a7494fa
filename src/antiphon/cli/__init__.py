"""The command line: parses arguments, calls one function each."""
