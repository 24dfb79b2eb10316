"""Simulations: engines that move atoms, and the trajectories they leave."""
