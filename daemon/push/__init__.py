"""`episoded push`: from the recording computer into a drop folder of the server, and only what is finished."""
