"""What ``tamis analyze --pruning`` shows: groups, what they save, what they do on samples, what is frozen."""
