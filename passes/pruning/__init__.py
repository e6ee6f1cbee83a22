"""Take out channels, heads and hidden units that a model can do without, and repair what is left in closed form."""
