"""The ladder of costs: what is counted follows from what trains, and every method is a row of the table."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.arithmetic import Arithmetic, count
from benchmarks.gpu.parts import PARTS, score_ladder
from benchmarks.ladder import summarised, table
from benchmarks.rungs import METHODS, write_data
from models.config import parse_run_config
from models.prepare import Training, prepare, settled

Prepared = Callable[..., Training]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    data = write_data(tmp_path_factory.mktemp("ladder"), toy=True)

    def prepared(*words: str) -> Training:
        more = [f"--data={data}", "--output=none", "--towers=[title, cover]", "--train.trackers=[]"]
        with torch.random.fork_rng():
            return prepare(settled(parse_run_config([*words, *more])), Accelerator(cpu=True))

    return prepared


def counted(training: Training) -> Arithmetic:
    found = count(training)
    trained = 4 * training.trainable_parameters
    assert (found.gradient_bytes, found.optimizer_bytes) == (trained, 2 * trained)
    assert all(parameter.grad is None for parameter in training.model.parameters())
    return found


def test_operations_and_activations_follow_from_what_trains(prepared: Prepared) -> None:
    fft, frozen, bitfit = (
        prepared("--config=fft", f"--adapt={method}") for method in ("full", "frozen", "bitfit")
    )
    costs = [counted(training) for training in (fft, frozen, bitfit)]
    encoders: Any = frozen.model.item_encoder.encoders
    batch = next(iter(frozen.batches.epoch(1)))
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        for name, encoder in encoders.items():
            for inputs in batch.features[name].batches:
                encoder(inputs)
    once = forward.get_total_flops()
    # Backward, FFT takes products for weights and for inputs, BitFit for inputs alone; pictures need none,
    # which is much of so small a ViT. Attention's backward pass computes its scores again.
    assert 1.6 * once < costs[0].flops - costs[1].flops < 2.2 * once
    assert 0.6 * once < costs[2].flops - costs[1].flops < 1.2 * once
    assert costs[0].parameter_bytes == costs[1].parameter_bytes
    assert costs[1].activation_bytes < costs[2].activation_bytes <= costs[0].activation_bytes


def test_live_states_cost_the_forward_pass_that_stored_states_save(prepared: Prepared) -> None:
    stored, live = (
        counted(prepared("--config=paper", f"--states={kind}")) for kind in ("stored", "live")
    )
    assert live.flops > stored.flops and live.parameter_bytes > stored.parameter_bytes
    assert live.gradient_bytes == stored.gradient_bytes
    assert live.activation_bytes == stored.activation_bytes


def test_every_method_is_a_row_and_a_part_of_the_gpu_benchmark() -> None:
    rungs = [
        {
            "method": name, "batch_size": 32, "device": "cpu", "memory": "peak", "seconds_per_epoch": 1.0 + place,
            "trainable_parameters": 10, "peak_memory_bytes": 2**20 * (1 + place), "counted_flops_per_epoch": 10**12,
            "counted_parameter_bytes": 0, "counted_gradient_bytes": 0, "counted_optimizer_bytes": 0,
            "counted_activation_bytes": 0,
        }
        for place, name in enumerate(METHODS)
    ]  # fmt: skip
    report = summarised(rungs)
    assert [one["tpme"] for one in report["methods"]][:: len(METHODS) - 1] == [0.0, 0.9]
    lines = table(report).splitlines()
    assert [
        line.split(" | ")[0].removeprefix("| ") for line in lines[2 : 2 + len(METHODS)]
    ] == list(METHODS)
    parts = {f"ladder {one['method']}": one for one in rungs} | {
        "ladder broken": {"error": "no luck"}
    }
    score_ladder(parts)
    assert set(parts) - {"ladder broken"} <= set(PARTS)
    assert parts["ladder pooled"]["tpme"] == pytest.approx(0.9)
