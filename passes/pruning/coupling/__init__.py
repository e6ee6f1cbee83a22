"""How each operator couples the axes of what it reads and gives; one family of operators a file."""
