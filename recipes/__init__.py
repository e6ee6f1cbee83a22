"""The shipped recipes (``*.yaml``), loaded by name, and the JSON schema of the recipe format."""
