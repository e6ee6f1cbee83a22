"""Which nodes run in integers, and where Q and DQ go."""
