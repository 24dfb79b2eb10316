"""Imported by a fork server before it forks (`forks.py`): the packages of two families of models, and what draws."""

from importlib import import_module

from mlff_probes.calculators.checkpoints.safety import weights_only_kept

with weights_only_kept():
    for name in ("chgnet.model.dynamics", "mace.calculators", "torch_sim"):
        import_module(name)
for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
    import_module(name)
