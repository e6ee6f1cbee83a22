"""Texts of the files that ``scaffold`` writes: small, working examples to be changed into what is wanted."""
