"""Migration: an atom on its way from site to site, on given images or along a relaxed band."""
