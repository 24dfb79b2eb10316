"""SPEC -> Calculator. One small file a family; the only room that imports torch models."""
