"""Muon: steps along a momentum made orthogonal, so that a kernel's weak directions change as much as its strong ones.

After Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon), scaled as by Liu et al. 2025 (arXiv 2502.16982).
What is no kernel, and what stands at the network's ends, takes Adam's step, as both recommend.
"""

from collections.abc import Iterable
from typing import Any

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
        groups: list[dict[str, Any]] = [
            {"params": list(kernels), "orthogonal": True, "weight_decay": weight_decay},
            {"params": list(others), "orthogonal": False, "weight_decay": 0.0},
        ]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step; parameters without a gradient stay."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                change = self._orthogonal_change(parameter) if group["orthogonal"] else self._adam_change(parameter)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(change, alpha=group["lr"])

    def _orthogonal_change(self, kernel: Tensor) -> Tensor:
        gradient, state = kernel.grad, self.state[kernel]
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
        state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        looking_ahead = gradient.lerp(state["momentum"], _MOMENTUM)
        # Channels last, as kernels lie in memory: the matrix (out, i j k in) is a view. The order does not matter.
        ordered = looking_ahead.movedim(1, -1)
        matrix = ordered.reshape(len(ordered), -1)
        scale = UPDATE_RMS * max(matrix.shape) ** 0.5
        return (orthogonal(matrix) * scale).reshape(ordered.shape).movedim(-1, 1)

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


def orthogonal(matrix: Tensor) -> Tensor:
    """Return the nearest matrix with orthogonal rows or columns, roughly: singular values of 0.7 to 1.2.

    Parameters
    ----------
    matrix : (n, m)
        Zeros stay zeros.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    matrix = matrix / (matrix.norm() + _EPSILON)
    a, b, c = _QUINTIC
    # Each round multiplies from the left by a polynomial of the small square matrix, so only that one is iterated.
    square, product = matrix @ matrix.T, torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    for _ in range(_ROUNDS):
        factor = b * square + c * square @ square
        factor.diagonal().add_(a)
        square, product = factor @ square @ factor, factor @ product
    return product @ matrix
