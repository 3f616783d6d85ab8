"""The temporal modules of Video-Depth-Anything: attention over time, at each pixel of a feature map on its own.

Parameter names are those of the published checkpoints. Source: Chen et al., "Video Depth Anything" (CVPR 2025), after
the motion modules of Guo et al., "AnimateDiff" (ICLR 2024).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .threads import in_turn
from .windows import WINDOW

if TYPE_CHECKING:
    from .threads import Each

HEADS = 8
ATTENTIONS = 2  # in each module


class Past:
    """What the attentions of one stream have seen: for each of them a list of tokens, one entry a frame.

    Frame t attends to 32: itself, the 29 before it, and two far ones, the first of the video and the one 41 frames ago.
    Before there are as many, the first frame stands in for them.
    """

    _KEPT = 42

    def __init__(self) -> None:
        self._frames: list[list[Tensor]] = []
        self._now: list[Tensor] = []

    def join(self, tokens: Tensor) -> Tensor:
        """The tokens (n, 1, C) of the current frame at the next attention, behind those of the frames it attends to."""
        place = len(self._now)
        self._now.append(tokens)
        if not self._frames:
            return tokens
        chosen = self._frames[:2] + self._frames[-(WINDOW - 3) :]
        return torch.cat([frame[place] for frame in chosen] + [tokens], dim=1)

    def end_frame(self) -> None:
        """The current frame has been through all attentions."""
        self._frames += [self._now] * (1 if self._frames else WINDOW)
        self._now = []
        if len(self._frames) > self._KEPT:
            del self._frames[1]


class MotionModule(nn.Module):
    """One temporal module, with `channels` channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.temporal_transformer = _TemporalTransformer(channels)

    def forward(
        self,
        features: Tensor,
        frames: int,
        past: Past | None = None,
        each: Each = in_turn,
        rows: int | None = None,
    ) -> Tensor:
        """(B frames, C, h, w) to the same; with `past` it is one frame of a stream (frames = 1).

        `each` does `rows` rows at a time (None: all; with `past` always): over time a pixel knows no other.
        """
        return self.temporal_transformer(features, frames, past, each, rows)


class _TemporalTransformer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([_TransformerBlock(channels)])
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, features: Tensor, frames: int, past: Past | None, each: Each, rows: int | None) -> Tensor:
        normed = self.norm(features).unflatten(0, (-1, frames))  # B T C h w
        height = normed.shape[3]
        bands = normed.split(rows if rows is not None and past is None else height, dim=3)
        done = torch.cat(each(lambda band: self._over_time(band, past), bands), dim=3)
        return features + done.reshape(features.shape)

    def _over_time(self, features: Tensor, past: Past | None) -> Tensor:
        """B T C h w to the same: attention over T, at each pixel by itself."""
        _, frames, channels, height, width = features.shape
        tokens = features.permute(0, 3, 4, 1, 2).reshape(-1, frames, channels)
        tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens, past)
        tokens = self.proj_out(tokens).unflatten(0, (-1, height, width))
        return tokens.permute(0, 3, 4, 1, 2)


class _TransformerBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(_TemporalAttention(channels) for _ in range(ATTENTIONS))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(ATTENTIONS))
        self.ff = _GatedMlp(channels)
        self.ff_norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, past: Past | None) -> Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            tokens = tokens + attention(norm(tokens), past)
        return tokens + self.ff(self.ff_norm(tokens))


class _TemporalAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])
        self.pos_encoder = _Positions(channels)

    def forward(self, tokens: Tensor, past: Past | None) -> Tensor:
        asking = tokens.shape[1]
        if past is not None:
            tokens = past.join(tokens)
        tokens = self.pos_encoder(tokens)
        query, key, value = self.to_q(tokens[:, -asking:]), self.to_k(tokens), self.to_v(tokens)
        query, key, value = (x.unflatten(2, (HEADS, -1)).transpose(1, 2) for x in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.to_out[0](mixed.transpose(1, 2).flatten(2))


class _Positions(nn.Module):
    """Sines and cosines of the position in the window, added to the tokens; a buffer of the checkpoints."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        position = torch.arange(WINDOW).unsqueeze(1)
        rate = torch.exp(torch.arange(0, channels, 2) * (-math.log(10000.0) / channels))
        table = torch.zeros(1, WINDOW, channels)
        table[0, :, 0::2] = torch.sin(position * rate)
        table[0, :, 1::2] = torch.cos(position * rate)
        self.pe: Tensor
        self.register_buffer("pe", table)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.pe[:, : tokens.shape[1]].to(tokens.dtype)


class _GatedMlp(nn.Module):
    """GEGLU: half of the hidden channels gate the other half."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([_Gate(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)])

    def forward(self, tokens: Tensor) -> Tensor:
        return self.net[2](self.net[0](tokens))


class _Gate(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        value, gate = self.proj(tokens).chunk(2, dim=-1)
        return value * F.gelu(gate)
