"""Parity: energies and forces against labels."""
