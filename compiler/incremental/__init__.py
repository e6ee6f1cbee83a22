"""Doing again only what has to be done again: keys of builds, stored models after each step, bundles that are up to date."""
