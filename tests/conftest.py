"""Fixtures for all tests: tiny encoders with random weights, and a synthetic dump."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from prep.pictures import watchdog
from prep.synth import write_dump

# The files with the most to compute come first, so that processes that share the suite end together. The order of all
# others stays.
LONGEST = (
    "test_ray.py",
    "test_notebooks.py",
    "test_chaos.py",
    "test_scenarios.py",
    "test_main_job.py",
    "test_documented_commands.py",
    "test_encoders.py",
    "test_study.py",
    "test_resume.py",
    "test_train.py",
    "test_parallel.py",
    "test_recompute.py",
    "test_report_browser.py",
    "test_graph_learning.py",
    "test_two_processes.py",
    "test_step.py",
    "test_page.py",
    "test_catalogue.py",
    "test_docs.py",
    "test_caption_chaos.py",
    "test_pipeline.py",
    "test_install.py",
    "test_captioners_serve.py",
    "test_efficiency.py",
)


def pytest_configure() -> None:
    """Shells start background jobs, and so `make test &`, without Ctrl-C; those that tests send must arrive."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection() -> None:
    """Imports of all tests make no garbage; searching for it would take a fifth of their time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """No later search looks through what was imported."""
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    """At its end, Python may take everything apart."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the tests by file, stably."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache of captions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERSA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Files of tests need not outlive a power cut, for which each write waits for the disk; processes that tests start wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_decoder() -> Iterator[None]:
    """Builds of tests share one decoding process, instead of starting one each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watchdog, "close_shared", lambda: None)
        yield
    watchdog.close_shared()


@pytest.fixture
def own_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each build starts and ends its decoding process, as outside of tests."""
    end = watchdog._SHARED.kill
    end()
    monkeypatch.setattr(watchdog, "close_shared", end)


@pytest.fixture(scope="session")
def synth_dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic dump of 24 items; copy it before changing it."""
    out = tmp_path_factory.mktemp("synth") / "dump"
    write_dump(out, items=24, users=60, progress=False)
    return out


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of 3 layers, 16 wide, over an alphabet of single letters."""
    # Imported here, so that the process that only distributes the tests does not wait for torch.
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("tiny_bert")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    BertTokenizer(vocab={word: row for row, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ViT of 2 layers, 16 wide, on 32 x 32 px."""
    import torch  # here, as above
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    folder = tmp_path_factory.mktemp("tiny_vit")
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=32,
        patch_size=16,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
