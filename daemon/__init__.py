"""The service: markers, claims, processes, time."""
