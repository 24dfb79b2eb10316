"""Minimum energy paths: how a band of images is brought to rest with few model calls. No pytest."""
