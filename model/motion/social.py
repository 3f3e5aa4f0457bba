"""The social module: a relation becomes queries, and the queries read the fused features of both people.

After the abstract of RSATalker ("learnable queries" over relationship embeddings); the rest is our reading. Kinship,
status and who is senior are three embeddings, so the four classes need no table of their own and any may be unknown.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.motion.layers import Attention, FeedForward, Memory
from schemas.vocabulary import KINSHIP, SENIOR_OF_PERSON, STATUS

SIZES = (len(KINSHIP), len(STATUS), len(SENIOR_OF_PERSON))
"""Words of each field, unknown among them (number 0)."""


class SocialModule(nn.Module):
    """Adds to the fused features what the relation makes of them; adds nothing before it is trained."""

    def __init__(self, width: int, heads: int, queries: int, reach: int, *, causal: bool, dropout: float) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, width) for size in SIZES)
        self.queries = nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.read = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm_query, self.norm_fused = nn.LayerNorm(width), nn.LayerNorm(width)
        self.place = nn.Linear(width, width)
        self.attention = Attention(width, heads, reach, causal=causal, dropout=dropout)
        # What a relation makes weaker (a quieter mouth) or turns by the side the partner sits on (where one looks) is
        # a product of relation and features; a sum could not say it.
        self.factor = nn.Linear(queries * width, width)
        self.mix = nn.Linear(queries * width, width)
        self.after = FeedForward(width, 2, dropout)
        self.gate = nn.Linear(width, width)
        for layer in (self.gate, self.factor):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def feature(self, relation: Tensor) -> Tensor:
        """(B, queries, C) of relations (B, 3): numbers of kinship, status, senior seen from the target."""
        known = torch.stack([table(relation[:, i]) for i, table in enumerate(self.embeddings)], dim=1)
        asked = self.queries.expand(len(relation), -1, -1)
        return asked + self.read(asked, known, known, need_weights=False)[0]

    def forward(self, fused: Tensor, relation: Tensor, memory: Memory | None = None) -> Tensor:
        """Fused features (B, T, C) and relations (B, 3) int64 -> (B, T, C).

        Every query looks over the features from every frame: what is asked is the relation's, where is the frame's.
        """
        social = self.feature(relation)
        keys = self.norm_fused(fused)
        batch, count = social.shape[:2]
        # (B, Q, T, C): a query of the relation, seen from each frame.
        asked = self.norm_query(social)[:, :, None] + self.place(keys)[:, None]
        shared = keys[:, None].expand(-1, count, -1, -1).flatten(0, 1)
        found = self.attention(asked.flatten(0, 1), shared, memory).unflatten(0, (batch, count))
        # What the relation says counts beside what the queries found.
        mixed = self.mix((found + social[:, :, None]).transpose(1, 2).flatten(2))
        stronger = 1 + self.factor(social.flatten(1))
        return fused * stronger[:, None] + self.gate(self.after(mixed))
