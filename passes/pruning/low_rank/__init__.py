"""Two or three thin layers in place of one."""
