"""The same models through other optimizers, timed in the same run. Runs in an environment of its own."""
