"""Nudged elastic bands that say how they ended: interpolation, relaxation, and explosions by kind."""
