"""Care of the plate: making one from a clip, fitting each frame to it, and saying what is wrong with it."""
