"""What is lost with each unit of a group: in which order units go, and how much is gone by then."""
