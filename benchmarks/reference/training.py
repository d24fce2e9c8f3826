"""The reference's training step: files, loss with a loop over users and positions, Adam.

B sequences, L inputs, E embedding.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.reference.files import read_files
from benchmarks.reference.network import Reference

MASKED = -1e4
BASE, SIDE, IMAGE, TEXT = 2e-4, 1e-4, 1e-4, 5e-5


def make_optimizer(network: Reference) -> torch.optim.Optimizer:
    """Adam with the public recipe's learning rates, selected by parameter names."""
    rates = {name: BASE for name, _ in network.named_parameters()}
    for name in rates:
        if ".down." in name or ".up." in name:
            rates[name] = SIDE
        elif "intra.1.head" in name or "intra.1.gates" in name:
            rates[name] = IMAGE
        elif "intra.0.head" in name:
            rates[name] = TEXT
    return torch.optim.Adam(
        [{"params": [p], "lr": rates[name]} for name, p in network.named_parameters()]
    )


def step(
    network: Reference,
    optimizer: torch.optim.Optimizer,
    files: Path,
    ids: Tensor,
    log_popularity: Tensor,
) -> float:
    """One update on (B, L + 1) left-padded sequences of item numbers; returns the loss."""
    text, image = read_files(files, ids.flatten().tolist())
    items = network.item_encoder(text, image).unflatten(0, ids.shape)
    users = network.sequence_encoder(items[:, :-1], ids[:, :-1])
    found = loss(users, items, ids, log_popularity)
    optimizer.zero_grad()
    found.backward()
    optimizer.step()
    return found.item()


def loss(users: Tensor, items: Tensor, ids: Tensor, log_popularity: Tensor) -> Tensor:
    """In-batch softmax cross-entropy over every occurrence in the batch.

    Args:
        users: (B, L, E) states after each input.
        items: (B, L + 1, E) of every occurrence.
        ids: (B, L + 1) their item numbers, 0 at padding.
        log_popularity: (N + 1,) log of each item's share of the training interactions.
    """
    columns = ids.flatten()
    logits = users.flatten(0, 1) @ items.flatten(0, 1).T - log_popularity[columns]
    batch, length = ids.shape
    losses = []
    for user in range(batch):
        for place in range(length - 1):
            if ids[user, place] == 0:
                continue
            target = user * length + place + 1
            masked = torch.isin(columns, ids[user]) | (columns == 0)
            masked[target] = False
            row = logits[user * (length - 1) + place].masked_fill(masked, MASKED)
            losses.append(F.cross_entropy(row, torch.tensor(target)))
    return torch.stack(losses).mean()
