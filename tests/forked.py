"""Commands in processes that share one import of torch: a server that has imported `models.train` forks them.

Starting Python and importing torch costs several CPU seconds a process, and a launcher costs as much again.
"""

import multiprocessing
import os
import socket
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch.multiprocessing as mp
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

CONTEXT = multiprocessing.get_context("forkserver")
# Beside the command, what its first optimizer and its first table import.
CONTEXT.set_forkserver_preload(["models.train", "torch._dynamo", "pandas"])
_TIMEOUT_SECONDS = 300


def start(
    module: str,
    words: Sequence[str],
    *,
    log: Path,
    threads: int = 1,
    own_group: bool = False,
    **environment: str,
) -> BaseProcess:
    """Starts `python -m MODULE WORDS`, with stdout and stderr appended to a file.

    Args:
        module: `models.train`, or another whose function `run` is the whole process.
        words: its arguments.
        log: the file.
        threads: of torch.
        own_group: whether the process leads a process group.
        environment: variables of this process only.
    """
    arguments = (module, list(words), str(log), threads, own_group, environment)
    process = CONTEXT.Process(target=_run, args=arguments)
    process.start()
    return process


def run_two(module: str, *words: str, log: Path, options: Sequence[str] = ("--multi_gpu",)) -> None:
    """Runs a command in two processes that compute together, as `accelerate launch OPTIONS` starts them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    common = {**launched(options), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
              "ACCELERATE_USE_CPU": "1"}  # fmt: skip
    processes = [
        start(module, words, log=log, **common, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")
    ]
    for process in processes:
        process.join(_TIMEOUT_SECONDS)
    assert [process.exitcode for process in processes] == [0, 0], log.read_text()


def call_two(work: Callable[..., None], *arguments: object) -> None:
    """Calls `work(rank, *arguments)` in two processes; raises what one of them raises."""
    mp.start_processes(work, arguments, nprocs=2, start_method=CONTEXT.get_start_method())


def launched(options: Sequence[str]) -> dict[str, str]:
    """The variables that `accelerate launch OPTIONS` sets for each of two processes."""
    words = [*options, "--num_processes", "2", "--main_process_port", "0", "script"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
    variables = prepare_multi_gpu_env(arguments)
    return {name: text for name, text in variables.items() if os.environ.get(name) != text}


def _run(
    module: str,
    words: list[str],
    log: str,
    threads: int,
    own_group: bool,
    environment: dict[str, str],
) -> None:
    if own_group:
        os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    sys.argv = [module, *words]

    import torch

    torch.set_num_threads(threads)
    import_module(module).run()
