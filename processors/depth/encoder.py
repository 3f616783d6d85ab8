"""The image encoder of Video-Depth-Anything: a DINOv2 vision transformer with patches of 14 x 14 pixels.

Parameter names are those of the published checkpoints. Source: Oquab et al., "DINOv2" (2023); Touvron et al., "Going
deeper with image transformers" (2021) for the per-channel scales.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody reads
from torch import Tensor, nn

PATCH = 14
TRAINED_GRID = 37  # patches along a side of the pictures it was trained on: 518 / 14
_OFFSET = 0.1  # added to the grid when the position table is resized: the checkpoints were trained with it


class Encoder(nn.Module):
    """RGB pictures to the patch tokens of four of its blocks.

    `dim`: channels of a token. `taken`: the blocks (from 0) whose output is given, in order.
    """

    def __init__(self, dim: int, depth: int, heads: int, taken: tuple[int, ...]) -> None:
        super().__init__()
        self.taken = taken
        self.patch_embed = _PatchEmbed(dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TRAINED_GRID**2, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # of the training; in the checkpoints, never used here
        self.blocks = nn.ModuleList(_Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(n, 3, 14 gh, 14 gw) normalised float32 to four tensors (n, dim, gh, gw)."""
        patches = self.patch_embed(pictures)
        grid = (patches.shape[2], patches.shape[3])
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + self._positions(grid)
        taken = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self.taken:
                taken.append(self.norm(tokens)[:, 1:].transpose(1, 2).unflatten(2, grid))
            if number == self.taken[-1]:
                break
        return taken

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """The position table for a grid of patches, (1, 1 + gh gw, dim), resized in float32."""
        if grid == (TRAINED_GRID, TRAINED_GRID):
            return self.pos_embed
        table = self.pos_embed.float()
        square = table[:, 1:].transpose(1, 2).unflatten(2, (TRAINED_GRID, TRAINED_GRID))
        scale = tuple((side + _OFFSET) / TRAINED_GRID for side in grid)
        resized = F.interpolate(square, scale_factor=scale, mode="bicubic", align_corners=False)
        assert resized.shape[2:] == grid, f"{resized.shape} for {grid}"
        return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


class _PatchEmbed(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, PATCH)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.proj(pictures)


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = _Attention(dim, heads)
        self.ls1 = _ChannelScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = _Mlp(dim)
        self.ls2 = _ChannelScale(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class _ChannelScale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma
