"""SPEC families: one file each loads a family of models. The only modules that import torch models."""
