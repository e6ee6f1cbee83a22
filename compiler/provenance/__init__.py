"""Where a bundle comes from: its bill of materials and its signature."""
