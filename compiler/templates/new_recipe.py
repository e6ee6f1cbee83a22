"""A recipe of one step."""

from __future__ import annotations

RECIPE = """# yaml-language-server: $schema=recipe.schema.json
#
# Folds and cleans a model and changes nothing else. (An example: say here what yours is for and when to choose
# it, and list its steps below.)
version: 1
passes:
  - canonicalize
"""
