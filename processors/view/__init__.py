"""Look at an episode: a Rerun recording, and one picture for those without Rerun."""
