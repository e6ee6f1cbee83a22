"""What pruning is held to: nothing sliced wrongly, and what it is worth."""
