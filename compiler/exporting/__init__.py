"""A bundle in the forms that registries and servers take."""
