"""Captioners in this process, on tiny random models: a batch equals single requests."""

import json
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from collect_captions import captions, captions_and_error, threads_at_work
from hub_cache import COMMIT, cache_as_downloaded
from safetensors.torch import load_file, save_file
from tiny_vlms import MODELS
from transformers import AutoModelForImageTextToText, AutoProcessor

from prep.captioners import Payload, Request, load_captioner
from prep.captioners.inputs import video_metadata
from prep.captioners.local import NewTokens, TransformersCaptioner
from prep.config import CaptionConfig
from toolkit import UserError
from toolkit.images import decode_jpeg

CHATS = {
    "llava_onevision": True,
    "qwen2_5_vl": True,
    "idefics3": True,
    "blip": False,
    "blip2": False,
}
TAKE_VIDEO = ("llava_onevision", "qwen2_5_vl")
PROMPTS = ["Hi", "A prompt that is much longer than the others", "What is it?"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of each tiny model."""
    parent = tmp_path_factory.mktemp("vlms")
    for name, write in MODELS.items():
        write(parent / name)
    return {name: parent / name for name in MODELS}


def jpeg(seed: int, height_px: int = 40, width_px: int = 60) -> bytes:
    """Coloured squares of 10 px."""
    shape = (height_px // 10, width_px // 10, 3)
    squares = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    pixels = cv2.resize(squares, (width_px, height_px), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def images(count: int = 6) -> list[Request]:
    """Of two sizes and prompts of three lengths."""
    return [Request(Payload([jpeg(n, 40 + 20 * (n % 2))]), PROMPTS[n % 3]) for n in range(count)]


def videos(count: int = 4) -> list[Request]:
    """Of three or four frames, at times that differ."""
    clips = []
    for number in range(count):
        frames = [jpeg(10 * number + k) for k in range(3 + number % 2)]
        times = [0.25 + (number + 1) * k for k in range(len(frames))]
        clips.append(Request(Payload(frames, times, is_video=True), PROMPTS[number % 3]))
    return clips


def captioner(folder: Path, **options) -> TransformersCaptioner:
    return TransformersCaptioner(str(folder), **{"max_new_tokens": 10, "batch_size": 3, **options})


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_says_what_each_request_alone_says(folders, name):
    made = captioner(folders[name], repetition_penalty=1.3)
    requests = images() + (videos() if name in TAKE_VIDEO else [])
    together = captions(made, requests)
    assert together == [captions(made, [request])[0] for request in requests]
    assert len(set(together)) > len(requests) / 2  # they depend on what is shown and asked
    assert together == captions(made, requests)  # and on nothing else


@pytest.mark.parametrize("name", MODELS)
def test_the_caption_is_the_library_s_own_without_the_prompt(folders, name):
    """A reference in few lines: one request, no batch, no padding; new tokens are those after the prompt."""
    processor = AutoProcessor.from_pretrained(folders[name])
    model = AutoModelForImageTextToText.from_pretrained(folders[name]).eval()
    request = images(2)[1]
    picture = decode_jpeg(request.payload.frames[0])
    if CHATS[name]:
        content = [{"type": "image", "image": picture}, {"type": "text", "text": request.prompt}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    else:
        inputs = processor(images=picture, text=request.prompt, return_tensors="pt")
    length = inputs["input_ids"].shape[1] - (name == "blip")  # BLIP drops the last token, [SEP]
    tokens = model.generate(**inputs, max_new_tokens=10, do_sample=False)[0, length:]
    expected = processor.tokenizer.decode(tokens, skip_special_tokens=True)
    assert expected
    assert captions(captioner(folders[name]), [request]) == [expected]


@pytest.mark.parametrize("name", MODELS)
def test_whether_a_model_takes_video_is_known_before_it_is_asked(folders, name):
    made = captioner(folders[name])
    assert made.takes_video == (name in TAKE_VIDEO)
    config = CaptionConfig(source="frames", model=str(folders[name]), device_map="cpu")
    if made.takes_video:
        assert load_captioner(config).takes_video
        return
    with pytest.raises(UserError, match=r"accepts images but no video, and the source is frames"):
        load_captioner(config)
    with pytest.raises(
        UserError, match=r"accepts images but no video; use a model that accepts video"
    ):
        captions(made, videos(1))


@pytest.mark.parametrize("name", TAKE_VIDEO)
def test_every_frame_of_a_video_and_their_order_count(folders, name):
    made = captioner(folders[name])
    frames = [jpeg(seed) for seed in range(4)]

    def said(*shown):
        payload = Payload([frames[k] for k in shown], list(range(4)), is_video=True)
        return captions(made, [Request(payload, "Hi")])

    assert said(0, 1, 2, 3) == said(0, 1, 2, 3)
    assert len({said(0, 1, 2, 3)[0], said(3, 2, 1, 0)[0], said(0, 1, 2, 2)[0]}) == 3


def test_the_times_of_frames_reach_the_model(folders):
    """Qwen2.5-VL: 2 positions a second, two frames a patch; twice the distance is twice the position's step."""
    made = captioner(folders["qwen2_5_vl"])
    frames = [jpeg(seed) for seed in range(4)]
    for distance in (0.5, 2.0):
        payload = Payload(frames, [0.3 + distance * k for k in range(4)], is_video=True)
        inputs = made._prepare([Request(payload, "Hi")])
        assert float(inputs["second_per_grid_ts"][0]) == pytest.approx(2 * distance)


@pytest.mark.parametrize(
    ("times", "distance", "duration"),
    [
        ([1.0, 3.0, 5.0], 2.0, 6.0),  # the middles of three parts of a clip of 6 s
        ([4.0, 4.04, 4.08], 0.04, 4.10),  # consecutive ones of 25 a second
        ([7.5], 1.0, 8.0),  # a single one lasts a second
        ([2.0, 2.0], 0.001, 2.0005),  # the same one twice, as keyframes may be
        (None, 1.0, 2.5),  # unknown: 0, 1, 2
    ],
)
def test_times_are_told_as_the_library_wants_them(times, distance, duration):
    count = len(times or [0, 1, 2])
    told = video_metadata(Payload([b""] * count, times, is_video=True))
    assert [index / told["fps"] for index in told["frames_indices"]] == (times or [0, 1, 2])
    sampled_fps = count / told["total_num_frames"] * told["fps"]  # as VideoMetadata has it
    assert 1 / sampled_fps == pytest.approx(distance, rel=1e-3)
    assert told["duration"] == pytest.approx(duration)


@pytest.mark.parametrize("name", MODELS)
def test_a_special_token_in_a_title_is_left_out(folders, name):
    made = captioner(folders[name])
    payload = images(1)[0].payload
    token = "[SEP]" if name == "blip" else "<image>"
    if name == "qwen2_5_vl":
        token = "<|image_pad|>"
    assert captions(made, [Request(payload, f"A {token}dog")]) == captions(
        made, [Request(payload, "A dog")]
    )


@pytest.mark.parametrize("name", ["blip", "blip2"])
def test_models_that_need_no_prompt_get_none(folders, name):
    made = captioner(folders[name])
    assert captions(made, [Request(images(1)[0].payload, "")])[0]


def test_frames_that_cannot_be_decoded_are_named_before_the_model_sees_them(folders):
    made = captioner(folders["llava_onevision"], batch_size=2)
    requests = images(4)
    requests[3] = Request(Payload([b"no image"]), "Hi")
    found, error = captions_and_error(
        made, requests, match=r"request 3: frame 0 cannot be decoded \(8 bytes"
    )
    assert error.indices == (3,)
    assert found == dict(enumerate(captions(made, requests[:2])))


def test_a_payload_without_frames_is_named(folders):
    made = captioner(folders["llava_onevision"])
    nothing = [Request(Payload([]), "Hi")]
    assert captions_and_error(made, nothing, "request 0: the payload has no frames")[0] == {}


def test_a_batch_that_fails_is_told_after_what_was_done_before(folders, monkeypatch):
    made = captioner(folders["llava_onevision"], batch_size=2)
    requests = images(6)
    expected = captions(made, requests)
    generate, calls = made._network.generate, []

    def fail_at_the_second(**inputs):
        calls.append(inputs)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return generate(**inputs)

    monkeypatch.setattr(made._network, "generate", fail_at_the_second)
    found, error = captions_and_error(
        made, requests, match="request 2, 3: RuntimeError: out of memory"
    )
    assert error.indices == (2, 3)
    assert found == {0: expected[0], 1: expected[1]}
    assert threads_at_work() == []


def test_a_batch_s_captions_are_there_before_the_next_is_generated(folders, monkeypatch):
    made = captioner(folders["llava_onevision"], batch_size=2)
    generate, calls = made._network.generate, []
    monkeypatch.setattr(
        made._network, "generate", lambda **inputs: calls.append(1) or generate(**inputs)
    )
    generated_at = {index: len(calls) for some in made.captions(images(6)) for index in some}
    assert generated_at == {0: 1, 1: 1, 2: 2, 3: 2, 4: 3, 5: 3}


def test_who_leaves_early_leaves_nothing_running(folders, monkeypatch):
    made = captioner(folders["llava_onevision"], batch_size=1)
    prepare, prepared = made._prepare, []
    monkeypatch.setattr(made, "_prepare", lambda asked: prepared.append(asked) or prepare(asked))
    left = made.captions(images(6))
    assert 0 in next(left)
    left.close()
    assert threads_at_work() == []
    assert made.usage.captions == 1
    assert len(prepared) <= 2  # the next one's pixels, if they were begun
    assert 0 in next(made.captions(images(6)))  # dropped at once, not closed
    assert threads_at_work() == []
    assert len(captions(made, images(6))) == 6  # and it is as good as before


def test_the_next_batch_is_prepared_while_this_one_is_generated(folders, monkeypatch):
    made = captioner(folders["llava_onevision"], batch_size=2)
    generate, prepare = made._network.generate, made._prepare
    prepared = [threading.Event() for _ in range(3)]
    begun = []

    def noted(requests):
        begun.append(requests)
        inputs = prepare(requests)
        prepared[len(begun) - 1].set()
        return inputs

    def wait_for_the_next(**inputs):
        ahead = len(begun_before) + 1
        begun_before.append(ahead)
        if ahead < 3:
            assert prepared[ahead].wait(30)  # never set if it waited for this batch
        return generate(**inputs)

    begun_before: list[int] = []
    monkeypatch.setattr(made, "_prepare", noted)
    monkeypatch.setattr(made._network, "generate", wait_for_the_next)
    assert len(captions(made, images(6))) == 6
    assert begun_before == [1, 2, 3]


def test_usage_counts_captions_and_their_tokens(folders):
    made = captioner(folders["idefics3"], max_new_tokens=4)
    texts = captions(made, images(4))
    decoded = sum(len(made._decoder(text)["input_ids"]) for text in texts)
    assert made.usage.captions == 4
    assert decoded <= made.usage.tokens <= 4 * 4
    assert 0 < made.usage.idle_share < 1


def test_a_consumer_s_time_is_not_the_model_s(folders, monkeypatch):
    """A clock that only the consumer moves: an hour after each caption, which is no time of the model's."""
    made = captioner(folders["idefics3"], batch_size=1)
    hours = []
    monkeypatch.setattr("prep.captioners.local.time.perf_counter", lambda: 3600.0 * len(hours))
    for caption in made.captions(images(3)):
        hours.append(caption)
    assert (made.usage.idle_seconds, made.usage.busy_seconds) == (0.0, 0.0)


def test_drawn_captions_differ_and_take_the_temperature(folders):
    cold, hot = (captioner(folders["idefics3"], temperature=t) for t in (0.0, 5.0))
    request = images(1)
    assert hot.settings["temperature"] == 5.0
    assert hot.settings != cold.settings
    assert len({captions(hot, request)[0] for _ in range(4)}) > 1
    assert len({captions(cold, request)[0] for _ in range(4)}) == 1


def test_repetition_is_penalised_by_hand():
    """(arXiv 1909.05858): logits of what was said, 2 / 1.6 and -2 * 1.6; the prompt's token 0 counts not."""
    penalise = NewTokens(1.6)
    scores = torch.tensor([[1.0, 2.0, -2.0, 4.0]])
    assert penalise(torch.tensor([[0]]), scores).equal(scores)
    assert penalise.prompt_length == 1
    found = penalise(torch.tensor([[0, 1, 2, 1]]), scores)
    assert torch.allclose(found, torch.tensor([[1.0, 1.25, -3.2, 4.0]]))


def test_settings_are_what_captions_depend_on_not_how_fast(folders):
    first = captioner(folders["blip"], batch_size=1)
    assert first.settings == captioner(folders["blip"], batch_size=7).settings
    assert first.settings == {
        "captioner": "transformers",
        "max_new_tokens": 10,
        "temperature": 0.0,
        "repetition_penalty": 1.0,
        "dtype": "float32",
    }


def test_the_revision_of_a_folder_covers_its_weights_and_its_chat_template(folders, tmp_path):
    same = Path(shutil.copytree(folders["qwen2_5_vl"], tmp_path / "same"))
    made = captioner(folders["qwen2_5_vl"])
    assert captioner(same).revision == made.revision
    template = same / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|user|>", ""))
    assert captioner(same).revision != made.revision


def test_a_name_on_the_hub_stays_at_the_commit_that_was_described(folders, tmp_path, monkeypatch):
    """The branch moves on to a commit that has no files, between the description and the first caption."""
    main = cache_as_downloaded(folders["idefics3"], "someone/vlm", tmp_path, monkeypatch)
    made = TransformersCaptioner("someone/vlm", max_new_tokens=10, device_map="cpu")
    assert made.revision == COMMIT
    main.write_text("f" * 40)
    assert captions(made, images(1)) == captions(captioner(folders["idefics3"]), images(1))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("./nowhere", "model './nowhere': no such folder"),
        (
            "package:nothing_here/vlm",
            "model 'package:nothing_here/vlm': package 'nothing_here' is not",
        ),
    ],
)
def test_a_model_that_is_nowhere_is_told(model, message):
    with pytest.raises(UserError, match=message):
        TransformersCaptioner(model)


def test_a_model_of_another_kind_is_told(tiny_bert, tiny_vit):
    for folder, kind in ((tiny_bert, "bert"), (tiny_vit, "vit")):
        with pytest.raises(
            UserError,
            match=rf"model '{folder}' has type '{kind}'.* use an image-text-to-text",
        ):
            TransformersCaptioner(str(folder))


def test_a_folder_without_a_processor_of_images_is_told(folders, tmp_path):
    folder = Path(shutil.copytree(folders["llava_onevision"], tmp_path / "half"))
    (folder / "processor_config.json").unlink()
    with pytest.raises(UserError, match=rf"model '{folder}'.*processor"):
        captioner(folder)


@pytest.mark.parametrize("length", [None, 0, 1000])
def test_a_model_is_described_without_its_weights(folders, tmp_path, length):
    """Missing, empty or cut off: that is told when they are wanted, in one line."""
    folder = Path(shutil.copytree(folders["qwen2_5_vl"], tmp_path / "no_weights"))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    if length is not None:
        weights.write_bytes(whole[:length])
    made = captioner(folder)
    described = captioner(folders["qwen2_5_vl"])
    assert (made.takes_video, made.settings) == (described.takes_video, described.settings)
    assert made.revision.startswith("sha256:")
    told = (
        rf"model '{folder}': its weights cannot be loaded .*; download it again, or give a folder"
    )
    for ask in (made.check, lambda: next(made.captions(images(1)))):
        with pytest.raises(UserError, match=told):
            ask()


def test_a_model_that_lacks_weights_is_refused(folders, tmp_path):
    folder = Path(shutil.copytree(folders["idefics3"], tmp_path / "part"))
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "connector" in name)
    del weights[gone]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=r"files lack 1 of the weights \(.*connector.*\), which would be random"
    ):
        captioner(folder).check()


def test_code_from_a_folder_runs_only_if_asked_for(folders, tmp_path):
    folder = Path(shutil.copytree(folders["blip"], tmp_path / "own_code"))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "code.Own", "AutoModelForImageTextToText": "code.Own"}
    config["model_type"] = "own"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UserError, match="own_code"):
        captioner(folder)
    assert not (tmp_path / "ran").exists()


def test_payloads_are_told_apart_by_all_that_is_shown():
    a, b = jpeg(0), jpeg(1)
    shown = [
        Payload([a]),
        Payload([a], is_video=True),
        Payload([a, b], is_video=True),
        Payload([b, a], is_video=True),
        Payload([a, b], [0.0, 1.0], is_video=True),
        Payload([a, b], [0.0, 2.0], is_video=True),
        Payload([a + b], is_video=True),
    ]
    assert len({payload.digest() for payload in shown}) == len(shown)
    assert Payload([a, b], (0, 1), is_video=True).digest() == shown[4].digest()
