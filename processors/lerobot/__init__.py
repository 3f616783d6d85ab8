"""LeRobot datasets as a whole: read, inspected, repaired, whatever version they are of and whoever made them."""
