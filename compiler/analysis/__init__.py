"""The cost model: what each node of a model computes and moves, and how long it takes here."""
