"""From one version of LeRobot's format to another: what is read, what files that makes, and how each is made.

Nothing here is durable: files are made at a path that is handed in, and whoever calls gives them their names.
"""
