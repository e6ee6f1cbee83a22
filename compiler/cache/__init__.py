"""What was built, kept by the digest of all that it depends on, for this user and for others."""
