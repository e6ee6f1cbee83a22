"""What the compiler itself costs: time of passes and verification, scaling, peak memory."""
