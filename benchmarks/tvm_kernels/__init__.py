"""Time and rate of each kernel of a model under TVM."""
