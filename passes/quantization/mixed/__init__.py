"""Which layers get integers and which stay floats."""
