"""Muon: steps along a momentum made orthogonal, so that a kernel's weak directions change as much as its strong ones.

After Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon), scaled as by Liu et al. 2025 (arXiv 2502.16982).
What is no kernel, and what stands at the network's ends, takes Adam's step, as both recommend.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

UPDATE_RMS = 0.8
"""Root mean square of a kernel's update at a learning rate of 1; a fourth of it was slower here."""
_MOMENTUM = 0.95
_ADAM = (0.9, 0.999)
_EPSILON = 1e-8
_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Jordan's polynomial: five rounds bring any singular value from 0.01 up to between 0.7 and 1.2."""
_ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Muon for kernels, Adam for the rest, with one learning rate.

    Parameters
    ----------
    kernels : iterable of parameter
        (out, in, i, j, k).
    others : iterable of parameter
        Of any shape; their weights do not decay.
    """

    def __init__(
        self, kernels: Iterable[nn.Parameter], others: Iterable[nn.Parameter], *, lr: float, weight_decay: float
    ) -> None:
        groups: list[dict[str, object]] = [
            {"params": list(kernels), "orthogonal": True, "weight_decay": weight_decay},
            {"params": list(others), "orthogonal": False, "weight_decay": 0.0},
        ]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step; parameters without a gradient stay."""
        for group in self.param_groups:
            taught = [p for p in group["params"] if p.grad is not None]
            change = self._orthogonal_changes(taught) if group["orthogonal"] else map(self._adam_change, taught)
            for parameter, step in zip(taught, change, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(step, alpha=group["lr"])

    def _orthogonal_changes(self, kernels: Sequence[Tensor]) -> list[Tensor]:
        """Return the change of each kernel; those of one shape are made orthogonal together, in fewer calls."""
        changes: dict[int, Tensor] = {}
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        ahead = [self._looking_ahead(kernel) for kernel in kernels]
        for index, ordered in enumerate(ahead):
            alike[tuple(ordered.shape)].append(index)
        for shape, members in alike.items():
            matrices = torch.stack([ahead[index].reshape(shape[0], -1) for index in members])
            steps = orthogonal(matrices) * (UPDATE_RMS * max(matrices.shape[1:]) ** 0.5)
            changes |= {index: step.reshape(shape).movedim(-1, 1) for index, step in zip(members, steps, strict=True)}
        return [changes[index] for index in range(len(kernels))]

    def _looking_ahead(self, kernel: Tensor) -> Tensor:
        """Return a kernel's gradient drawn towards its momentum, channels last, as kernels lie in memory: a view."""
        gradient, state = kernel.grad, self.state[kernel]
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
        state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        return gradient.lerp(state["momentum"], _MOMENTUM).movedim(1, -1)

    def _adam_change(self, parameter: Tensor) -> Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - _ADAM[0])
        state["square"].lerp_(gradient.square(), 1 - _ADAM[1])
        mean, square = (
            state[name] / (1 - b ** state["step"]) for name, b in zip(("mean", "square"), _ADAM, strict=True)
        )
        return mean / (square.sqrt() + _EPSILON)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return the nearest matrices with orthogonal rows or columns, roughly: singular values of 0.7 to 1.2.

    Parameters
    ----------
    matrices : (…, n, m)
        Zeros stay zeros.
    """
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonal(matrices.mT).mT
    matrices = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + _EPSILON)
    a, b, c = _QUINTIC
    # Each round multiplies from the left by a polynomial of the small square matrix, so only that one is iterated.
    square = matrices @ matrices.mT
    product = torch.eye(matrices.shape[-2], dtype=matrices.dtype, device=matrices.device).expand_as(square)
    for _ in range(_ROUNDS):
        factor = b * square + c * square @ square
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        square, product = factor @ square @ factor, factor @ product
    return product @ matrices
