"""On a real local Ray cluster: the same tables, one clear error, and no leftovers."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from cluster_work import Absent, Counting, Failing, exit_at_once, interrupt, measured, see_gpus

import prep
import toolkit
from prep import CaptionConfig, EncodeConfig, MediaConfig, PrepConfig
from prep.executors import choose, cluster, processes
from prep.steps.pipeline import Step, errors_of, run_step
from toolkit import UserError, ray_cluster
from toolkit.store import Table

ROOT = Path(__file__).parents[2]
ROWS = pa.schema([("item_id", pa.string()), ("length", pa.int64())])
RAY = PrepConfig(executor="ray", media=MediaConfig(frame_count=2))

pytestmark = [
    pytest.mark.slow,
    # Ray Data's own context sets options that Ray Data has deprecated.
    pytest.mark.filterwarnings("ignore:`use_:DeprecationWarning:ray.data.context"),
]


@pytest.fixture(scope="module", autouse=True)
def two_cores():
    """A cluster of two cores, two GPUs by name alone and little memory, which all tests share."""
    pytest.importorskip("ray.data", reason="the extra [ray] is not installed")
    ray = ray_cluster.import_ray(local=True)
    ray_cluster.start(num_cpus=2, num_gpus=2, object_store_memory=100 * 2**20)
    yield
    ray.shutdown()


def batches(*sizes):
    return [
        pa.record_batch({"item_id": [f"{number}-{row}" for row in range(size)]})
        for number, size in enumerate(sizes)
    ]


def step(work=measured):
    return Step("measure", "lengths", ROWS, {"unit": "letters"}, work, shard_rows=2)


def items(count):
    return pa.table({"item_id": [f"{'x' * i}{'?' * (i % 3 == 0)}" for i in range(1, count + 1)]})


def shards(dataset, folder="lengths"):
    table = Table(dataset / folder)
    return [(path.path.name, pa.ipc.open_file(path.path).read_all()) for path in table.shards()]


def test_results_keep_the_order_and_a_worker_its_copy_of_the_work():
    results = list(choose(RAY)(Counting(), batches(4, 1, 3, 2, 1, 1)))
    assert [result["item_id"][0].as_py() for result in results] == [f"{i}-0" for i in range(6)]
    calls: dict[int, list[int]] = {}
    for result in results:
        calls.setdefault(result["process"][0].as_py(), []).append(result["calls"][0].as_py())
    assert os.getpid() not in calls and len(calls) <= 2
    assert all(sorted(counted) == list(range(1, len(counted) + 1)) for counted in calls.values())


def test_a_run_that_fails_half_way_goes_on_and_gives_the_same_shards(tmp_path):
    everything = items(12)
    for name, execute in (("here", processes(1)), ("processes", processes(2))):
        run_step(tmp_path / name, step(), everything, execute=execute)
    with pytest.raises(UserError, match=r"^x{8} is too much; take it out$"):
        run_step(tmp_path / "ray", step(Failing("x" * 8)), everything, execute=choose(RAY))
    found = shards(tmp_path / "ray")
    assert found == shards(tmp_path / "here")[: len(found)] and len(found) <= 3  # of two items each
    run_step(tmp_path / "ray", step(), everything, execute=choose(RAY))
    for name in ("processes", "ray"):
        assert shards(tmp_path / name) == shards(tmp_path / "here")
        assert errors_of(tmp_path / name, "measure") == errors_of(tmp_path / "here", "measure")


def test_another_error_of_the_work_says_where_it_came_from():
    with pytest.raises(KeyError, match="oops") as raised:
        list(choose(RAY)(interrupt, batches(1, 1)))
    (note,) = raised.value.__notes__
    assert note.startswith("in a worker of the cluster:") and "def interrupt" not in note
    assert "cluster_work.py" in note


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (exit_at_once, r"a worker of the cluster died .* finished shards are kept"),
        (
            Absent(),
            r"could not start \(ModuleNotFoundError: .*'absent'\); every machine needs",
        ),
    ],
)
def test_a_worker_that_is_gone_is_one_message(work, message):
    with pytest.raises(UserError, match=message):
        list(choose(RAY)(work, batches(1)))


def test_an_address_without_a_cluster_is_said():
    with pytest.raises(UserError, match=r"--address 127\.0\.0\.1:9: no Ray cluster answers"):
        ray_cluster.connect("127.0.0.1:9")


def test_a_build_in_the_cluster_is_the_build_here(synth_dump, tiny_bert, tmp_path):
    settings = {"title": EncodeConfig(encoder=str(tiny_bert), pooling="mean")}
    captions = {"said": CaptionConfig(model="package:prep/synth/tiny_vlm", max_new_tokens=24)}
    asked = {"encode": settings, "caption": captions}
    config = replace(RAY, **asked, gpus_per_worker=1, caption_cache=str(tmp_path / "one"))
    media = replace(RAY.media, workers=1)
    here = PrepConfig(media=media, **asked, caption_cache=str(tmp_path / "another"))
    prep.build(synth_dump, tmp_path / "here", here)
    prep.build(synth_dump, tmp_path / "ray", config)
    assert prep.check(tmp_path / "ray") == []
    for folder in ("items", "interactions", "covers", "frames", "captions/said", "states/title"):
        assert shards(tmp_path / "ray", folder) == shards(tmp_path / "here", folder)
    assert toolkit.open_dataset(tmp_path / "ray").errors.num_rows == 0


def test_each_worker_has_a_gpu_of_its_own():
    config = replace(RAY, gpus_per_worker=1)
    results = list(choose(config, model=True)(see_gpus, batches(*[1] * 6)))
    seen = {result["process"][0].as_py(): result["gpus"][0].as_py() for result in results}
    assert sorted(seen.values()) == ["0", "1"][: len(seen)]


def test_more_gpus_than_there_are_is_said():
    config = replace(RAY, gpus_per_worker=4)
    with pytest.raises(
        UserError,
        match=r"--gpus-per-worker 4: no machine .* has so many GPUs \(they have 2\); use fewer",
    ):
        list(choose(config, model=True)(measured, batches(1)))


def test_one_model_a_machine_without_gpus():
    import ray

    with cluster.cluster():
        assert ray.is_initialized()
        assert cluster._capacity(model=True, gpus_per_worker=0) == (2, 1)
        assert cluster._capacity(model=False, gpus_per_worker=0) == (1, 2)
    assert ray.is_initialized()  # not ours to shut down


# --- a cluster of its own, in a process of its own ---

SCRIPT = """
import sys, time, psutil
import pyarrow as pa
from cluster_work import length, linger
from prep.executors import cluster

def open_ports():
    me = psutil.Process()
    return sorted({
        connection.laddr.ip
        for process in [me, *me.children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    })

batch = pa.record_batch({"item_id": ["a"]})
with cluster.cluster():
    import ray
    print("done", [result.num_rows for result in cluster.in_cluster(length, [batch])])
    print("ports", open_ports())
    print("token", ray._raylet.get_authentication_mode() == ray._raylet.AuthenticationMode.TOKEN)
    print("waiting", flush=True)
    list(cluster.in_cluster(linger, [batch]))
"""


def in_a_process(tmp_path, home):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    env |= {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "HOME": str(home)}
    return subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
    )


def is_agent(process):
    """Whether this is one of Ray's agents, which take their names only after their imports."""
    try:
        script = process.cmdline()[:3]
        return process.name().endswith("Agent") or any(
            word.endswith(("/agent.py", "/agent/main.py")) for word in script
        )
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_local_cluster_is_quiet_closed_to_others_and_gone_at_the_end(tmp_path, how):
    process = in_a_process(tmp_path, home=tmp_path)
    heard = []
    for heard_line in process.stdout:
        heard.append(heard_line.strip())
        if heard_line == "waiting\n":
            break
    assert heard == ["done [1]", "ports ['127.0.0.1', '::ffff:127.0.0.1']", "token True", "waiting"]
    time.sleep(1)  # into the second run
    members = psutil.Process(process.pid).children(recursive=True)
    if how == signal.SIGKILL:  # Ray's own two agents take about a minute to notice it
        members = [member for member in members if not is_agent(member)]
    assert len(members) > 3
    process.send_signal(how)
    _, errors = process.communicate(timeout=180)
    _, alive = psutil.wait_procs(members, timeout=180)
    assert alive == []
    assert list(tmp_path.iterdir()) == [tmp_path / "script.py"]  # no token left at home
    if how == signal.SIGINT:
        *trace, last = errors.strip().splitlines()
        assert last == "KeyboardInterrupt"
        assert trace[0] == "Traceback (most recent call last):"  # no warning before it
    else:
        assert errors == ""
