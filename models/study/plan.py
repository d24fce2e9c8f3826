"""The plan of a study: datasets, protocols, methods, search spaces and budgets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from models.config import PRESETS, TrainConfig
from toolkit.console.named_files import named_file
from toolkit.json_files import content_digest
from toolkit.own_protocols import as_protocol
from toolkit.protocols import Protocol
from toolkit.yaml_files import read_yaml


@dataclass(frozen=True)
class Range:
    """An interval of numbers that a search draws from.

    Args:
        low: smallest number.
        high: largest number.
        log: whether numbers are drawn on a logarithmic scale.
        int: whether numbers are whole.
    """

    low: float
    high: float
    log: bool = False
    int: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a setting's value lies in the interval."""
        return type(value) in (int, float) and self.low <= value <= self.high


Space = Mapping[str, "list[Any] | Range"]


@dataclass
class Method:
    """A method of a study.

    Args:
        config: presets and YAML files, later files override earlier ones.
        settings: further settings, by dotted key.
        search: for each searched key, a list of choices, or `{low, high, log, int}`.
    """

    config: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)


@dataclass
class Plan:
    """A study: what is compared, how much each method may spend, and what decides.

    Args:
        datasets: dataset folders by name.
        protocols: protocols of the test: names, YAML files, or their content. Settings are selected under the first one
            of each split.
        methods: methods by name, the baseline first.
        metric: HR, NDCG or MRR at a cutoff of the metrics files. It selects settings, on the validation split, and is
            tested.
        trials: settings that each method may try; fewer only if its search space holds fewer.
        seeds: seeds of the selected settings; all trials have the first.
        epochs: maximum number of epochs of every run.
        seconds: maximum seconds of training of every run (`train.max_seconds`); 0 for no limit.
        patience: `train.patience` of every run.
        sampler: `random`, or `tpe`, which learns from finished trials.
        search_seed: seed of the search.
    """

    datasets: dict[str, str]
    protocols: list[Any]
    methods: dict[str, Method]
    metric: str = "NDCG@10"
    trials: int = 1
    seeds: list[int] = field(default_factory=lambda: [1])
    epochs: int = TrainConfig.epochs
    seconds: float = 0.0
    patience: int = TrainConfig.patience
    sampler: Literal["random", "tpe"] = "random"
    search_seed: int = 1

    def splits(self) -> dict[str, list[Protocol]]:
        """The protocols by split, in the order of the plan. Protocols with the same training data share models."""
        found: dict[str, list[Protocol]] = {}
        for protocol in map(as_protocol, self.protocols):
            training = protocol.split.training
            same = (name for name, others in found.items() if others[0].split.training == training)
            kinds = sum(others[0].split.kind == training.kind for others in found.values())
            name = next(same, f"{training.kind}-{kinds + 1}" if kinds else training.kind)
            found.setdefault(name, []).append(protocol)
        return found

    @property
    def protocol_names(self) -> list[str]:
        """The names of the protocols, in the order of the plan."""
        return [as_protocol(protocol).name for protocol in self.protocols]

    def space(self, method: str) -> Space:
        """The search space of a method."""
        search = self.methods[method].search
        return {key: Range(**v) if isinstance(v, dict) else v for key, v in search.items()}

    def content(self) -> dict[str, Any]:
        """All that decides the results but the data, with the contents of presets and files, JSON-serialisable."""
        methods = {
            name: {
                "config": {file: read_yaml(config_file(file)) for file in method.config},
                "settings": method.settings,
                "search": method.search,
            }
            for name, method in self.methods.items()
        }
        protocols = [as_protocol(protocol).record for protocol in self.protocols]
        parts = {"datasets": sorted(self.datasets), "protocols": protocols, "methods": methods}
        return {**vars(self), **parts, "order": list(self.methods)}

    def digest(self) -> str:
        """SHA-256 of `content`, independent of the order of keys in the file, except for that of the methods."""
        return content_digest(self.content())

    def words(self, method: str, settings: Mapping[str, Any]) -> list[str]:
        """The arguments of `models.train` for a method with searched settings, without data, output and protocol."""
        own = self.methods[method]
        files = [
            word
            for file in own.config
            for word in ("--config", str(Path(file).resolve()) if Path(file).is_file() else file)
        ]
        values = {**own.settings, **settings}
        return [
            *files,
            *(f"--{key}={_word(value)}" for key, value in values.items()),
            f"--train.epochs={self.epochs}",
            f"--train.max_seconds={self.seconds}",
            f"--train.patience={self.patience}",
            f"--train.select_by={self.metric}",
            *("--train.evaluate_every=1", "--train.test=false", "--train.keep_checkpoints=1"),
            *(() if "train.trackers" in values else ("--train.trackers=[]",)),
        ]


def _word(value: Any) -> str:
    """A setting's value as a word of a command line."""
    return value if isinstance(value, str) else json.dumps(value)


def config_file(name: str) -> Path:
    """A preset or a file, as an absolute path.

    Raises:
        UserError: if it is neither.
    """
    return named_file(name, PRESETS, lead="config ").resolve()
