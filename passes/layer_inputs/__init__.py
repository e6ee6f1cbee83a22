"""What the layers of a model read, streamed over samples: rows, their second moments, and values between stages."""
