"""PNG reading, video reading and writing."""
