"""The command line: a thin face on the Python API, one module for a group of commands."""
