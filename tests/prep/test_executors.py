"""Local executors: order, one copy of the work per worker, and cleanup after a worker dies."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from cluster_work import Counting, double, interrupt, length

import prep
from prep import EncodeConfig, MediaConfig, PrepConfig
from prep.cli import main
from prep.executors import choose, local, processes, running
from prep.towers.encoding import Encoding
from toolkit import UserError


def batches(*sizes):
    """One batch of each size; ids say which batch and which row."""
    return [
        pa.record_batch({"item_id": [f"{number}-{row}" for row in range(size)]})
        for number, size in enumerate(sizes)
    ]


def test_results_keep_the_order_of_the_batches_however_long_each_takes():
    sizes = [5, 1, 4, 2, 3, 1]
    results = list(processes(2)(length, batches(*sizes)))
    assert [result.num_rows for result in results] == sizes
    assert results[2].column("item_id").to_pylist() == ["2-0", "2-1", "2-2", "2-3"]


def test_a_worker_has_one_copy_of_the_work_for_all_its_batches():
    results = list(processes(2)(Counting(), batches(*[1] * 8)))
    calls: dict[int, list[int]] = {}
    for result in results:
        calls.setdefault(result["process"][0].as_py(), []).append(result["calls"][0].as_py())
    assert os.getpid() not in calls
    # Each process counts its own calls from 1 on: nothing was pickled anew for a batch.
    assert all(sorted(counted) == list(range(1, len(counted) + 1)) for counted in calls.values())
    assert sum(map(len, calls.values())) == 8


def test_batches_are_taken_as_results_are_used():
    """Memory stays bounded: at most twice as many batches as workers are under way."""
    taken = []

    class Watched(list):
        def __iter__(self):
            for batch in super().__iter__():
                taken.append(batch)
                yield batch

    results = processes(2)(length, Watched(batches(*[1] * 12)))
    next(results)
    assert len(taken) == 4
    results.close()


def test_nothing_to_do_starts_nothing():
    assert list(processes(2)(double, [])) == []
    assert list(local.here(double, [])) == []


def test_an_error_of_the_work_is_raised_as_it_is():
    for workers in (1, 2):
        with pytest.raises(KeyError, match="oops"):
            list(processes(workers)(interrupt, batches(1, 1)))


def test_an_encoder_is_not_pickled_with_its_work(tmp_path, tiny_bert):
    work = Encoding(tmp_path, EncodeConfig(encoder=str(tiny_bert)))
    assert work.frozen.encoder.layers == 4
    again = pickle.loads(pickle.dumps(work))
    assert again == work
    assert "frozen" not in vars(again)


def test_options_of_a_cluster_without_one_are_refused():
    with pytest.raises(UserError, match=r"address is head:6379, .*add --executor ray"):
        PrepConfig(address="head:6379")
    with pytest.raises(UserError, match=r"gpus_per_worker is 1, .*add --executor ray"):
        PrepConfig(gpus_per_worker=1)
    with pytest.raises(UserError, match=r"gpus_per_worker is -1; it must be at least 0"):
        PrepConfig(executor="ray", gpus_per_worker=-1)


def test_a_model_stays_in_this_process():
    config = PrepConfig(media=MediaConfig(workers=2))
    assert choose(config, model=True) is local.here
    assert choose(config) is not local.here
    with running(config):
        pass


def test_without_ray_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'needs Ray.*pip install "versa-toolkit\[ray\]"'):
        list(choose(PrepConfig(executor="ray"))(length, batches(1)))


def test_help_loads_neither_torch_nor_ray():
    code = (
        "import sys\nfrom prep.cli import main\n"
        "try: main(['build', '--help'])\n"
        "finally: print([name for name in ('torch', 'ray') if name in sys.modules])"
    )
    root = Path(prep.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout.strip().endswith("[]")
    for option in ("--executor", "--address", "--gpus_per_worker"):
        assert f"{option} " in done.stdout


def test_options_may_be_written_with_dashes(capsys):
    with pytest.raises(UserError, match=r"gpus_per_worker is 2\.0, .*add --executor ray"):
        main(["build", "dump", "out", "--gpus-per-worker", "2"])
    with pytest.raises(UserError, match=r"no such folder"):
        main(["build", "dump", "out", "--executor=ray", "--gpus-per-worker=2", "--time-unit=s"])
