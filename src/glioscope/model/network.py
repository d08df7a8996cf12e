"""The two U-Nets: `original`, the first notebook's, and `standard`, the project's own.

Both are called as ``network(image, presence)`` with ``image`` (b, c, i, j, k) and ``presence`` (b, c), and return
logits on the image's grid, so that everything around them is the same code.

`original` is the 3-D U-Net of Çiçek et al. 2016 (arXiv 1606.06650) in the sizes of the notebook this project grew from.
`standard` is a residual encoder U-Net (Isensee et al. 2024, arXiv 2404.09556) behind a stride-2 stem: the finest level
works at half resolution, where a whole brain fits one pass; a last stage at full resolution brings the outline back.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from glioscope.errors import ConfigError
from glioscope.labels import REGIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Which network, and its sizes."""

    name: Literal["standard", "original"] = "standard"
    sequences: int = 4
    """Input channels."""
    outputs: Literal["regions", "labels"] = "regions"
    """`regions`: WT, TC, ET, each with its own sigmoid; `labels`: softmax over background, NCR, ED, ET."""
    regions: int = len(REGIONS)
    """Regions that are learnt; a training takes it from its table `regions`."""
    widths: tuple[int, ...] = ()
    """Channels from the finest level to the coarsest; empty takes 32, 64, 128, 256. Those of `original` are fixed."""
    blocks: tuple[int, ...] = ()
    """Residual blocks per encoder level; empty takes 1, 1, 2 and 2. `original` has none to choose."""

    def __post_init__(self) -> None:
        for setting, (given, own) in {
            "widths": (self.widths, _WIDTHS[self.name]),
            "blocks": (self.blocks, _BLOCKS[self.name]),
        }.items():
            if self.name == "original" and given not in ((), own):
                raise ConfigError(f"network.{setting} is {list(given)}, but 'original' has {list(own)}; leave it out")
            object.__setattr__(self, setting, given or own)
        if self.name == "standard" and len(self.widths) != len(self.blocks):
            raise ConfigError(
                f"network.widths has {len(self.widths)} levels but network.blocks {len(self.blocks)}; they must agree"
            )

    @property
    def output_channels(self) -> int:
        """Channels of the logits."""
        return self.regions if self.outputs == "regions" else 4

    @property
    def divisor(self) -> int:
        """Spatial sizes must be multiples of this."""
        return 2 ** len(self.widths) if self.name == "standard" else 2 ** (len(self.widths) - 1)


_WIDTHS = {"standard": (32, 64, 128, 256), "original": (16, 32, 64, 128, 256)}
_BLOCKS = {"standard": (1, 1, 2, 2), "original": (1, 1, 1, 1, 1)}


class OriginalUNet(nn.Module):
    """The notebook's U-Net: 16-32-64-128-256, ReLU, dropout, transposed convolutions; 5,645,828 parameters.

    Weights start He-uniform and biases at 0 as in Keras; the transposed convolutions and the last layer start as Keras
    starts them, Glorot-uniform.
    """

    widths = _WIDTHS["original"]
    dropout = (0.1, 0.1, 0.2, 0.2, 0.3)

    def __init__(self, inputs: int = 3, outputs: int = 4) -> None:
        super().__init__()
        widths, rates = self.widths, self.dropout
        self.encoder = nn.ModuleList(
            self._level(before, width, rate)
            for before, width, rate in zip((inputs, *widths[:-1]), widths, rates, strict=True)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(wide, narrow, 2, stride=2)
            for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.decoder = nn.ModuleList(
            self._level(2 * width, width, rate) for width, rate in zip(widths[-2::-1], rates[-2::-1], strict=True)
        )
        self.pool = nn.MaxPool3d(2)
        self.head = nn.Conv3d(widths[0], outputs, 1)
        self._initialise()

    @staticmethod
    def _level(inputs: int, width: int, rate: float) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(inputs, width, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(rate),
            nn.Conv3d(width, width, 3, padding=1),
            nn.ReLU(),
        )

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                assert module.bias is not None
                nn.init.zeros_(module.bias)
                if isinstance(module, nn.Conv3d) and module is not self.head:
                    nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                else:
                    nn.init.xavier_uniform_(module.weight)

    def forward(self, image: Tensor, presence: Tensor | None = None) -> Tensor:
        """Return logits (b, 4, i, j, k); `presence` is ignored, as this network knows no missing sequence."""
        skips = []
        x = image
        for level in self.encoder[:-1]:
            x = level(x)
            skips.append(x)
            x = self.pool(x)
        x = self.encoder[-1](x)
        for up, level, skip in zip(self.up, self.decoder, reversed(skips), strict=True):
            x = level(torch.cat((up(x), skip), dim=1))
        return self.head(x)


class InstanceNorm(nn.InstanceNorm3d):
    """Instance norm that keeps the channels-last layout in training.

    With one case a step, as here, instance norm and batch norm are the same sum; torch's instance norm copies every
    feature map into another layout and back, which cost a third of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (b, c, i, j, k), each channel of each case at mean 0 and variance 1, scaled and shifted."""
        if self.training and x.shape[0] == 1:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, momentum=0.0, eps=self.eps)
        return super().forward(x)


def _norm(width: int) -> nn.Module:
    return InstanceNorm(width, affine=True)


class ResidualBlock(nn.Module):
    """Two 3×3×3 convolutions around a shortcut; a stride halves the grid, and the shortcut with it."""

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = _norm(width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.norm2 = _norm(width)
        self.act = nn.LeakyReLU(0.01, inplace=True)
        shortcut: list[nn.Module] = [nn.AvgPool3d(stride)] if stride > 1 else []
        if inputs != width:
            shortcut.append(nn.Conv3d(inputs, width, 1, bias=False))
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, width, i/stride, j/stride, k/stride)."""
        y = self.act(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.act(y + self.shortcut(x))


class StandardUNet(nn.Module):
    """Residual U-Net behind a stride-2 stem; knows which sequences are there.

    Presence enters as a learned shift of the features after the stem and at the coarsest level: a zero-filled channel
    looks the same as brain tissue of mean intensity, so the network must be told.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        widths, blocks, inputs, outputs = config.widths, config.blocks, config.sequences, config.output_channels
        self.stem = nn.Sequential(
            nn.Conv3d(inputs, widths[0], 3, stride=2, padding=1, bias=False), _norm(widths[0]), nn.LeakyReLU(0.01, True)
        )
        self.stem_presence = nn.Linear(inputs, widths[0])
        self.encoder = nn.ModuleList()
        for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            before, stride = (width, 1) if level == 0 else (widths[level - 1], 2)
            stages = [ResidualBlock(before, width, stride)]
            stages += [ResidualBlock(width, width) for _ in range(count - 1)]
            self.encoder.append(nn.Sequential(*stages))
        self.deep_presence = nn.Linear(inputs, widths[-1])
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(wide, narrow, 2, stride=2, bias=False)
            for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.Conv3d(2 * width, width, 3, padding=1, bias=False), _norm(width), nn.LeakyReLU(0.01, True))
            for width in widths[-2::-1]
        )
        self.deep_heads = nn.ModuleList(nn.Conv3d(width, outputs, 1) for width in widths[-3::-1])
        fine = 8
        self.fine_up = nn.ConvTranspose3d(widths[0], fine, 2, stride=2)
        self.fine = nn.Sequential(nn.Conv3d(fine + inputs, fine, 3, padding=1), nn.LeakyReLU(0.01, True))
        self.head = nn.Conv3d(fine, outputs, 1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, ResidualBlock):  # each block starts close to its shortcut
                nn.init.constant_(module.norm2.weight, 0.2)  # type: ignore[arg-type]
        for linear in (self.stem_presence, self.deep_presence):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        for head in (self.head, *self.deep_heads):  # tumour is rare: begin at a probability of a few per cent
            nn.init.normal_(head.weight, std=0.02)
            nn.init.constant_(head.bias, -3.0)

    def features(self, image: Tensor, presence: Tensor) -> list[Tensor]:
        """Return decoder features from coarse to fine, the last at half resolution."""
        x = self.stem(image) + self.stem_presence(presence)[:, :, None, None, None]
        skips = []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        x = skips.pop() + self.deep_presence(presence)[:, :, None, None, None]
        decoded = []
        for up, level in zip(self.up, self.decoder, strict=True):
            x = level(torch.cat((up(x), skips.pop()), dim=1))
            decoded.append(x)
        return decoded

    def forward(self, image: Tensor, presence: Tensor) -> Tensor:
        """Return logits (b, r, i, j, k)."""
        return self._finish(image, self.features(image, presence)[-1])

    def forward_deep(self, image: Tensor, presence: Tensor) -> list[Tensor]:
        """Return logits at full resolution, then at 1/2, 1/4 and coarser: for deep supervision in training."""
        decoded = self.features(image, presence)
        fine = decoded[len(decoded) - len(self.deep_heads) :]
        heads = [head(x) for head, x in zip(self.deep_heads, fine, strict=True)]
        return [self._finish(image, decoded[-1]), *reversed(heads)]

    def _finish(self, image: Tensor, x: Tensor) -> Tensor:
        x = self.fine_up(x)
        image = image.to(x.dtype)  # or the whole full-resolution stage would be widened to the image's fp32
        return self.head(self.fine(torch.cat((x, image), dim=1)))


def build(config: NetworkConfig) -> nn.Module:
    """Return a freshly initialised network; its weights depend on torch's random state."""
    if config.name == "original":
        return OriginalUNet(config.sequences, config.output_channels)
    return StandardUNet(config)
