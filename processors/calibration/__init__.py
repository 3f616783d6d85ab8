"""Where a DROID camera's intrinsics and pose come from: released calibrations, factory files, the recording itself."""
