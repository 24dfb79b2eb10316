"""What a checkpoint file may hold, checked before and while it is loaded."""
