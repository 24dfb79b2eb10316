"""Representation: how far structures lie from what a model was trained on, in the space of its own features."""
