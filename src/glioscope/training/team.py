"""Several devices on one training, through torch's own data parallelism (DDP) under `torchrun`.

Each process, a *member*, computes its part of every batch, sample by sample, and the gradients are averaged. The loss
of a batch is the mean of its samples' losses, so a training on two devices follows that on one with the same batch;
only the order of sums differs.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from glioscope.errors import ConfigError

T = TypeVar("T")

PATIENCE = timedelta(hours=12)
"""The others wait this long while the first member prepares the cases; `torchrun` ends them all if one dies."""


def device_of() -> torch.device:
    """Return the device to train on: CUDA where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """The processes of one training; by default this one alone, for which nothing below costs or changes anything."""

    rank: int = 0
    count: int = 1
    device: torch.device | None = None
    """None takes CUDA where there is one."""

    @property
    def first(self) -> bool:
        """Whether this is the member that writes files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every member has come this far."""
        if self.count > 1:
            distributed.barrier()

    def agreed(self, value: float) -> float:
        """Return the first member's value, so that all decide alike."""
        values = [value]
        if self.count > 1:
            distributed.broadcast_object_list(values, src=0)
        return values[0]

    def part(self, batch: int) -> range:
        """Return which samples of a batch this member draws.

        Raises
        ------
        ConfigError
            The batch does not divide evenly.
        """
        if batch % self.count:
            raise ConfigError(
                f"training.batch is {batch} but {self.count} processes share it; "
                f"make it a multiple: --set training.batch={self.count}"
            )
        size = batch // self.count
        return range(self.rank * size, (self.rank + 1) * size)

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return every count-th of the items, beginning at the rank."""
        return items[self.rank :: self.count]

    def collected(self, mine: Sequence[T]) -> list[T]:
        """Return what the members made of their shares, in the order of the items shared."""
        if self.count == 1:
            return list(mine)
        shares: list[list[T]] = [[] for _ in range(self.count)]
        distributed.all_gather_object(shares, list(mine))
        longest = max(map(len, shares))
        return [share[i] for i in range(longest) for share in shares if i < len(share)]

    def parallel(self, module: nn.Module, *, all_used: bool) -> nn.Module:
        """Return the module with its gradients averaged over the members after each backward pass."""
        if self.count == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=not all_used)


ALONE = Team()
"""One process."""


def first_process() -> bool:
    """Return whether this process writes and speaks: alone, or the first of those that `torchrun` started."""
    return not distributed.is_torchelastic_launched() or os.environ.get("RANK") == "0"


@contextmanager
def joined() -> Iterator[Team]:
    """Join the other processes that `torchrun` started, or be alone without it."""
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    device = device_of()
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        warnings.filterwarnings("ignore", "Grad strides do not match")  # of 1×1×1 kernels, whose layout has two names
        rank = distributed.get_rank()
        if device.type == "cuda":
            device = torch.device("cuda", rank % torch.cuda.device_count())
            torch.cuda.set_device(device)
        yield Team(rank=rank, count=distributed.get_world_size(), device=device)
    finally:
        distributed.destroy_process_group()
