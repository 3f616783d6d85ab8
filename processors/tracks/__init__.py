"""The tracks stage: what a raw DROID episode's states and calibrations say about the gripper, in 3D and in pixels."""
