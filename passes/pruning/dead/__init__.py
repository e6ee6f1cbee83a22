"""Channels that do nothing, proven or seen: what is known of each channel, and how its share moves into biases."""
