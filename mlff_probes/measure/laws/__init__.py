"""Physical laws: what must hold of any model on any material, so that no reference is needed."""
