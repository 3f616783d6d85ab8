"""What is done to an episode: formats, media, and one folder for each stage.

The ground floor: nothing in here knows the daemon, its markers or its processes, so it is usable as a library.
"""
