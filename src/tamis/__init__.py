"""tamis: a declarative model compiler."""
