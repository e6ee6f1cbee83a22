"""Machines as data: one YAML file a machine, and the detection of the machine at hand."""
