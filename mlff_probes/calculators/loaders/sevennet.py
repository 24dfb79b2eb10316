"""SevenNet: many structures in one pass, as one graph without edges between them.

On a CPU the pass takes a convolution of its own. Of the time of a call, nearly all goes into the tensor product of
e3nn, which runs innermost over the components of a feature, five at most, where a CPU needs the channels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlff_probes.calculators.base import BatchFunction, FeatureFunction, Features
from mlff_probes.calculators.stages import stage

if TYPE_CHECKING:
    from ase import Atoms

READOUT = "reduce_input_to_hidden"
"""The part of a model that begins to make energies of node features."""


def batched(calculator: Any) -> BatchFunction:
    """The batched pass of a `SevenNetCalculator`, through a copy of its model.

    Neighbours, node and edge features are made by its own functions. The energy of a structure is the sum of its
    atoms' in double precision.
    """
    import sevenn._keys as key

    model = _copy(calculator.model, own_convolution=torch.device(calculator.device).type == "cpu")
    without_forces = copy.copy(model)
    without_forces._modules = {name: part for name, part in model._modules.items() if name != "force_output"}

    def batch(frames: Sequence[Atoms], forces: bool) -> list[tuple[float, Any]]:
        with stage("neighbours"):
            graph = _graph(calculator, frames)
        with stage("copies"):
            graph = graph.to(calculator.device)
        with stage("model"), torch.set_grad_enabled(forces):
            out = (model if forces else without_forces)(graph)
        with stage("copies"):
            of_atoms = out[key.ATOMIC_ENERGY].detach().cpu().numpy().ravel().astype(float)
            all_forces = out[key.PRED_FORCE].detach().cpu().numpy() if forces else None
        ends = np.cumsum([len(frame) for frame in frames])
        return [
            (
                float(of_atoms[end - len(frame) : end].sum()),
                None if all_forces is None else all_forces[end - len(frame) : end],
            )
            for frame, end in zip(frames, ends, strict=True)
        ]

    return batch


def features(calculator: Any) -> FeatureFunction:
    """The scalar node features of a `SevenNetCalculator` behind its last convolution, from which energies are read."""

    @cache  # a copy of the model, which most runs do not need
    def up_to_the_readout() -> Any:
        model = _copy(calculator.model, own_convolution=torch.device(calculator.device).type == "cpu")
        names = list(model._modules)
        model._modules = {name: model._modules[name] for name in names[: names.index(READOUT)]}
        return model

    def features(frames: Sequence[Atoms]) -> list[Features]:
        import sevenn._keys as key

        with stage("neighbours"):
            graph = _graph(calculator, frames)
        with stage("copies"):
            graph = graph.to(calculator.device)
        with stage("model"), torch.no_grad():
            nodes = up_to_the_readout()(graph)[key.NODE_FEATURE]
        ends = np.cumsum([len(frame) for frame in frames])[:-1]
        return [Features({"last layer": part}) for part in np.split(nodes.cpu().numpy(), ends)]

    return features


def _copy(model: Any, *, own_convolution: bool) -> Any:
    """A copy of a model whose weights have no gradients, and whose convolutions are ours where that is wanted."""
    found = copy.deepcopy(model).requires_grad_(False)
    for name, part in list(found._modules.items()):
        if own_convolution and ChannelsInnermost.fits(part):
            found._modules[name] = ChannelsInnermost(part)
    return found


def _graph(calculator: Any, frames: Sequence[Atoms]) -> Any:
    """The graph of several structures: as the calculator makes that of one, atom after atom."""
    import sevenn._keys as key
    from sevenn.atom_graph_data import AtomGraphData
    from sevenn.train.dataload import unlabeled_atoms_to_graph

    for frame in frames:
        calculator.set_atoms(frame)  # which refuses elements that the model does not know
    graphs = [unlabeled_atoms_to_graph(frame, calculator.cutoff) for frame in frames]
    starts = np.cumsum([0, *(len(frame) for frame in frames)])
    joined = {name: np.concatenate([graph[name] for graph in graphs]) for name in (
        key.NODE_FEATURE, key.ATOMIC_NUMBERS, key.POS, key.EDGE_VEC,
    )}  # fmt: skip
    joined[key.EDGE_IDX] = np.concatenate(
        [graph[key.EDGE_IDX] + start for graph, start in zip(graphs, starts[:-1], strict=True)], axis=1
    )
    joined[key.CELL_VOLUME] = np.array(1.0)  # of the stress, which nobody looks at
    joined[key.NUM_ATOMS] = np.array(starts[-1])
    data = AtomGraphData.from_numpy_dict({**joined, key.INFO: {}})
    if calculator.modal:
        data[key.DATA_MODALITY] = calculator.modal
    return data


class ChannelsInnermost(torch.nn.Module):
    """The convolution of SevenNet (`IrrepsConvolution`), with the channels of features innermost in memory.

    The message of edge e on the path from degree l1 of the neighbour, by degree l2 of the filter, to l3 is

        m[e, k, u] = w[e, u] sum_i M[e, k, i] x[e, i, u],    M[e, k, i] = path weight sum_j C[i, j, k] y[e, j]

    with the 3j symbols C, the filter y, features x with channels u, and the radial weights w: the connection ``uvu`` of
    e3nn's `TensorProduct`, which makes the same products, but has u before i and k.

    Parameters
    ----------
    inner
        The convolution, whose tensor product `fits`.
    """

    @staticmethod
    def fits(part: Any) -> bool:
        """Whether a part of a model is a convolution that this one can stand for."""
        product: Any = getattr(part, "convolution", None)
        if type(part).__name__ != "IrrepsConvolution" or type(product).__name__ != "TensorProduct":
            return False
        plain = all(each.connection_mode == "uvu" and each.has_weight for each in product.instructions)
        return plain and not part.is_parallel and all(filtered.mul == 1 for filtered in product.irreps_in2)

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        product = inner.convolution
        self.blocks, self.out = list(product.irreps_in1), list(product.irreps_out)
        paths = list(product.instructions)
        self.channels = [self.blocks[path.i_in1].mul for path in paths]  # of the weights of each path
        self.paths = [[n for n, path in enumerate(paths) if path.i_in1 == block] for block in range(len(self.blocks))]
        self.goes_to = [path.i_out for path in paths]
        for block, rows in enumerate(self.paths):
            coupling = _coupling(product, [paths[row] for row in rows])
            self.register_buffer(f"coupling_{block}", coupling.to(inner.denominator))

    def forward(self, data: Any) -> Any:
        """Put the sum of the messages to each node in the place of its features."""
        inner, nodes = self.inner, data[self.inner.key_x]
        filtered, (ends, starts) = data[inner.key_filter], data[inner.key_edge_idx]
        weights = inner.weight_nn(data[inner.key_weight_input]).split(self.channels, dim=1)
        gathered: list[Any] = [None] * len(self.out)
        features = nodes.split([each.dim for each in self.blocks], dim=1)
        for block, rows in enumerate(self.paths):
            mul, size = self.blocks[block].mul, self.blocks[block].ir.dim
            x = features[block].reshape(-1, mul, size).transpose(1, 2).contiguous().index_select(0, starts)
            coupling = filtered @ getattr(self, f"coupling_{block}")
            coupling = coupling.reshape(len(x), coupling.shape[1] // size, size)
            for row, message in self._messages(x, coupling, rows, weights):
                sums = nodes.new_zeros(len(nodes), message.shape[1], mul).index_add(0, ends, message)
                gathered[self.goes_to[row]] = sums.transpose(1, 2).reshape(len(nodes), -1)
        data[inner.key_x] = torch.cat(gathered, dim=1).div(inner.denominator)
        return data

    def _messages(self, x: Any, coupling: Any, rows: list[int], weights: Any) -> list[tuple[int, Any]]:
        """The messages, shape (n_edges, 2 l3 + 1, n_channels), of the paths `rows`, which begin at one block."""
        sizes = [self.out[self.goes_to[row]].ir.dim for row in rows]
        if x.shape[1] == 1:  # fewer products when the weights come first
            parts = zip(rows, coupling.split(sizes, dim=1), strict=True)
            return [(row, torch.bmm(part, x * weights[row].unsqueeze(1))) for row, part in parts]
        products: Any = torch.bmm(coupling, x)
        parts = zip(rows, products.split(sizes, dim=1), strict=True)
        return [(row, part * weights[row].unsqueeze(1)) for row, part in parts]


def _coupling(product: Any, paths: list[Any]) -> Any:
    """What a filter is multiplied with to have M of all paths from one block.

    Shape (n_filter, sum of (2 l3 + 1) times 2 l1 + 1).
    """
    from e3nn.o3 import wigner_3j

    of_paths = []
    for path in paths:
        one, other, out = product.irreps_in1[path.i_in1], product.irreps_in2[path.i_in2], product.irreps_out[path.i_out]
        found = torch.zeros(product.irreps_in2.dim, out.ir.dim, one.ir.dim, dtype=torch.float64)
        symbols = wigner_3j(one.ir.l, other.ir.l, out.ir.l, dtype=found.dtype)  # i, j, k
        found[product.irreps_in2.slices()[path.i_in2]] = path.path_weight * symbols.permute(1, 2, 0)
        of_paths.append(found.flatten(1))
    return torch.cat(of_paths, dim=1)
