"""Energies and forces for a case that lacks them, point by point, from any ASE calculator or from a cluster.

`lacking` says what a case lacks, `journal` keeps each point as soon as it is there, `points` computes one, `provenance`
says how it was made, `recording` puts them together; `inputs` and `results` go by way of a cluster.
"""
