"""SevenNet: many structures in one pass, as one graph without edges between them.

On a CPU the pass takes a convolution of its own. Of the time of a call, nearly all goes into the tensor product of
e3nn, which runs innermost over the components of a feature, five at most, where a CPU needs the channels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from mlff_probes.calculators.base import BatchFunction, FeatureFunction, Features
from mlff_probes.calculators.stages import stage
from mlff_probes.core.structures import cell_out_of_reach, made

if TYPE_CHECKING:
    from ase import Atoms

READOUT = "reduce_input_to_hidden"
"""The part of a model that begins to make energies of node features."""

APART_A = 1.0
"""By how much images along which nothing repeats are farther apart than the cutoff."""

EDGES_AT_A_TIME = 256
"""Whose messages in SevenNet-0 take 1.3 MB; with 64 to 512 it is as fast."""


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
    graphs = [unlabeled_atoms_to_graph(periodic(frame, calculator.cutoff), calculator.cutoff) for frame in frames]
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


def periodic(frame: Atoms, cutoff: float) -> Atoms:
    """The same neighbours, in a cell that is periodic in all directions.

    SevenNet puts a long vector along a Cartesian axis in the place of one along which nothing repeats. Beside the
    others that may span no volume, and then its search for neighbours ends in an error, or after seconds without any.
    """
    if frame.pbc.all():
        return frame
    return made(frame.numbers, positions=frame.positions, cell=cell_out_of_reach(frame, cutoff + APART_A))


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
        self.blocks, self.out, self.paths = list(product.irreps_in1), list(product.irreps_out), _paths(product)
        for block in range(len(self.blocks)):
            coupling = _coupling(product, [path for path in product.instructions if path.i_in1 == block])
            self.register_buffer(f"coupling_{block}", coupling.to(inner.denominator))

    def forward(self, data: Any) -> Any:
        """Put the sum of the messages to each node in the place of its features."""
        inner, nodes = self.inner, data[self.inner.key_x]
        filtered, (ends, starts) = data[inner.key_filter], data[inner.key_edge_idx]
        features = nodes.split([each.dim for each in self.blocks], dim=1)
        x = [
            part.reshape(-1, block.mul, block.ir.dim).transpose(1, 2).contiguous()
            for part, block in zip(features, self.blocks, strict=True)
        ]
        couplings = [filtered @ getattr(self, f"coupling_{block}") for block in range(len(x))]
        weights = inner.weight_nn(data[inner.key_weight_input])
        sums = MessageSums.apply(ends, starts, self.paths, weights, *x, *couplings)  # type: ignore[no-untyped-call]
        gathered: list[Any] = [None] * len(self.out)
        for paths, of_block in zip(self.paths, sums, strict=True):
            for path in paths:
                gathered[path.goes_to] = of_block[:, path.components].transpose(1, 2).reshape(len(nodes), -1)
        data[inner.key_x] = torch.cat(gathered, dim=1).div(inner.denominator)
        return data


class Path(NamedTuple):
    """One path of a convolution: where it finds its weights, its messages among those of its block, and its place."""

    columns: slice
    components: slice
    goes_to: int


def _paths(product: Any) -> list[list[Path]]:
    """The paths of a tensor product from each block of its first factor."""
    blocks: list[list[Path]] = [[] for _ in product.irreps_in1]
    column = 0
    for each in product.instructions:
        block, mul = blocks[each.i_in1], product.irreps_in1[each.i_in1].mul
        first = block[-1].components.stop if block else 0
        size = product.irreps_out[each.i_out].ir.dim
        block.append(Path(slice(column, column + mul), slice(first, first + size), each.i_out))
        column += mul
    return blocks


class MessageSums(torch.autograd.Function):
    """The messages to each node, summed, as many edges at a time as a cache holds.

    What is between, of which there is much more than of what goes in and comes out, is thereby never written to memory;
    the backward pass makes it again.
    """

    @staticmethod
    def forward(ctx: Any, ends: Any, starts: Any, paths: list[list[Path]], weights: Any, *parts: Any) -> Any:
        """Sums of shape (n_nodes, n_components, n_channels), one for each block.

        Parameters
        ----------
        ends, starts
            The nodes of each edge, shape (n_edges,).
        paths
            Those from each block.
        weights
            Of all paths, shape (n_edges, n_weights).
        parts
            The features of each block, shape (n_nodes, 2 l1 + 1, n_channels); then M of each block, shape
            (n_edges, n_components times 2 l1 + 1).
        """
        ctx.save_for_backward(ends, starts, weights, *parts)
        ctx.paths = paths
        x, couplings = parts[: len(paths)], parts[len(paths) :]
        sums = [each.new_zeros(len(each), _size(rows), each.shape[2]) for each, rows in zip(x, paths, strict=True)]
        for edges in _chunks(len(ends)):
            w = weights[edges]
            for block, rows in enumerate(paths):
                products = _products(x[block].index_select(0, starts[edges]), couplings[block][edges])
                for path in rows:
                    products[:, path.components].mul_(w[:, None, path.columns])
                sums[block].index_add_(0, ends[edges], products)
        return tuple(sums)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradients of `weights` and `parts`, those of features only where they are needed."""
        ends, starts, weights, *parts = ctx.saved_tensors
        x, couplings = parts[: len(ctx.paths)], parts[len(ctx.paths) :]
        of_weights = torch.empty_like(weights)
        of_x = [torch.zeros_like(each) if ctx.needs_input_grad[4 + n] else None for n, each in enumerate(x)]
        of_couplings = [torch.empty_like(each) for each in couplings]
        for edges in _chunks(len(ends)):
            w, of_w = weights[edges], of_weights[edges]
            for block, rows in enumerate(ctx.paths):
                neighbours, m = x[block].index_select(0, starts[edges]), couplings[block][edges]
                of_messages = gradients[block].index_select(0, ends[edges])
                products = _products(neighbours, m).mul_(of_messages)
                for path in rows:
                    torch.sum(products[:, path.components], dim=1, out=of_w[:, path.columns])
                    of_messages[:, path.components].mul_(w[:, None, path.columns])
                m = m.unflatten(1, (-1, neighbours.shape[1]))
                torch.bmm(of_messages, neighbours.transpose(1, 2), out=of_couplings[block][edges].view_as(m))
                if (of_block := of_x[block]) is not None:
                    of_block.index_add_(0, starts[edges], torch.bmm(m.transpose(1, 2), of_messages))
        return None, None, None, of_weights, *of_x, *of_couplings


def _size(paths: list[Path]) -> int:
    return int(paths[-1].components.stop) if paths else 0


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + EDGES_AT_A_TIME) for start in range(0, count, EDGES_AT_A_TIME)]


def _products(x: Any, coupling: Any) -> Any:
    """Messages without their weights, shape (n_edges, n_components, n_channels)."""
    if x.shape[1] == 1:
        return coupling.unsqueeze(2) * x
    return torch.bmm(coupling.unflatten(1, (-1, x.shape[1])), x)


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
