"""Ways to machines: lowered models in processes of their own, emulated machines, and what runs there."""
