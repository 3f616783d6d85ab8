"""LeRobot v3.0: many episodes in a file of rows and in a file of video, `meta/` as parquet."""
