"""The floor of a step: operations and products of known functions, and the report of a tiny dataset."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import floor
from benchmarks.operations import Operations, Product, ProductsAlone


def test_views_are_not_counted() -> None:
    x = torch.ones(4, 6)
    with Operations() as operations:
        x.view(6, 4).T[1:].unsqueeze(0).relu().add_(1).sum()
    assert operations.counts == {
        "aten.relu.default": 1,
        "aten.add_.Tensor": 1,
        "aten.sum.default": 1,
    }
    assert operations.total == 3 and operations.products == []


def test_the_backward_pass_is_counted_too() -> None:
    x = torch.ones(4, requires_grad=True)
    with Operations() as operations:
        x.exp().sum().backward()
    # exp, sum; the gradient of the sum is ones, expanded; times exp(x).
    assert [operations.counts[f"aten.{name}"] for name in ("exp.default", "mul.Tensor")] == [1, 1]
    assert operations.total == 4


def test_the_products_of_a_network_have_its_sizes() -> None:
    network = nn.Sequential(nn.Linear(60, 50), nn.ReLU(), nn.Linear(50, 20, bias=False))
    with Operations() as operations:
        network(torch.ones(30, 60)).sum().backward()
    # Forward; then the last layer's weight and input; then the first one's weight, as its input needs no gradient.
    sizes = [(p.batch, p.rows, p.inner, p.columns) for p in operations.products]
    assert sizes == [
        (1, 30, 60, 50),
        (1, 30, 50, 20),
        (1, 20, 30, 50),
        (1, 30, 20, 50),
        (1, 50, 30, 60),
    ]
    assert operations.products[0].transposed == (False, True)  # W is (50, 60)
    assert sum(p.flops for p in operations.products) == 2 * 30 * (2 * 60 * 50 + 3 * 50 * 20)


def test_a_weighted_sum_of_tensors_is_no_product() -> None:
    with Operations() as operations:
        torch.ones(3, 5) @ torch.ones(5, 1000)
        torch.ones(30, 1000) @ torch.ones(1000, 7)
    assert operations.total == 6 and operations.products == []


def test_products_alone_are_the_same_products() -> None:
    left, right = torch.ones(2, 30, 40), torch.ones(2, 50, 40).mT
    with Operations() as first:
        torch.baddbmm(torch.ones(1), left, right)
        torch.addmm(torch.ones(1).double(), left[0].double(), right[0].double())
        torch.addmm(torch.ones(1), right[0].T, left[0].T)
    alone = ProductsAlone(first.products)
    with Operations() as second:
        alone()
    assert first.products == second.products
    assert second.products == [
        Product(2, 30, 40, 50, torch.float32, (False, True)),
        Product(1, 30, 40, 50, torch.float64, (False, True)),
        Product(1, 50, 40, 30, torch.float32, (False, True)),
    ]
    assert second.total == 3


def test_the_report_has_step_and_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"work": tmp_path, "users": 80, "items": 50, "rounds": 1, "evaluations": 1}
    words = [f"--{name}={value}" for name, value in arguments.items()]
    monkeypatch.setattr("sys.argv", ["floor", "--json", "--clock=cpu", *words])
    with torch.random.fork_rng():
        floor.main()
    report = json.loads(capsys.readouterr().out)
    assert all(report[f"{name}seconds"] > 0 for name in ("step_", "floor_", "evaluation_"))
    assert report["evaluation_floor_seconds"] > 0
    assert report["threads"] == torch.get_num_threads()
    assert report["operations"] == sum(report["operation_counts"].values())
    assert not any(name.startswith("profiler") for name in report["operation_counts"])
    # Three towers of 7 blocks: two products of 384 x 64 per item forward; backward, two more of each.
    blocks = 3 * 7 * 2 * (2 * 384 * 64)
    assert report["evaluation_product_flops"] > 50 * blocks
    assert report["products"] > 3 * 7 * 2 and report["product_flops"] > 10 * 3 * blocks
    assert "| step |" in floor.table(report) and "| evaluation |" in floor.table(report)
