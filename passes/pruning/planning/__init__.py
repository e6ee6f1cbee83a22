"""Which units go, step by step, until a goal is reached."""
