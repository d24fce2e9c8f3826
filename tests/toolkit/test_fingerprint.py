"""A fingerprint changes with every byte that affects an encoder's output, and with nothing else."""

import shutil

import pytest

from toolkit.backbones import load_backbone
from toolkit.backbones.fingerprint import fingerprint, fingerprint_of_parts, is_of_parts
from toolkit.backbones.resolve import revision_as, revision_of

MIB = 1 << 20
DECIDES = [
    *(
        "config.json",
        "generation_config.json",
        "adapter_config.json",
        "model.safetensors.index.json",
    ),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model"),
    *("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json"),
    *("chat_template.jinja", "chat_template.json", "additional_chat_templates/tools.jinja"),
    *("modeling_own.py", "qwen.tiktoken", "bpe_simple_vocab_16e6.txt.gz", "open_clip_config.json"),
    *("model-00002-of-00002.safetensors", "adapter_model.safetensors"),
]


@pytest.fixture
def folder(tmp_path):
    for name in ["config.json", "model.safetensors"]:
        (tmp_path / name).write_bytes(bytes(4 * MIB))
    return tmp_path


@pytest.mark.parametrize("name", DECIDES)
def test_every_byte_of_what_decides(folder, name):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(4 * MIB))
    before = fingerprint(folder)
    with path.open("r+b") as file:  # the middle, which an older Versa did not read
        file.seek(2 * MIB)
        file.write(b"1")
    after = fingerprint(folder)
    assert after != before
    path.rename(path.with_name(f"x{path.name}"))
    assert fingerprint(folder) not in (before, after)


@pytest.mark.parametrize(
    "name", ["README.md", ".gitattributes", "pytorch_model.bin", "checkpoint-5/model.safetensors"]
)
def test_what_decides_nothing(folder, name):
    before = fingerprint(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"something")
    assert fingerprint(folder) == before


def test_a_copy_has_the_same(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    assert fingerprint(copy) == fingerprint(folder)


def test_old_fingerprints_are_compared_with_their_kind(folder):
    """They say nothing of the middle, and the form tells which they are."""
    old = fingerprint_of_parts(folder)
    assert is_of_parts(old)
    assert not is_of_parts(revision_of(str(folder), None))
    assert not is_of_parts("0" * 40)
    assert revision_as(old, str(folder), None) == old
    assert (
        revision_as("", str(folder), None) == revision_of(str(folder), None) == fingerprint(folder)
    )
    assert revision_as(old, "someone/name", "c" * 40) == "c" * 40
    (folder / "config.json").write_bytes(bytes(3 * MIB))
    assert revision_as(old, str(folder), None) != old


def test_another_tokenizer_is_another_encoder(tiny_bert, tmp_path):
    copy = shutil.copytree(tiny_bert, tmp_path / "bert")
    before = load_backbone(str(copy), modality="text").encoder.revision
    path = copy / "tokenizer.json"
    path.write_text(path.read_text().replace('"a": 5', '"a": 6').replace('"b": 6', '"b": 5'))
    assert load_backbone(str(copy), modality="text").encoder.revision != before


def test_backbones_name_their_processor(tiny_bert, tiny_vit):
    assert (
        load_backbone(str(tiny_bert), modality="text").encoder.processor
        == "BertTokenizer (tokenizers)"
    )
    found = load_backbone(str(tiny_vit), modality="image").encoder.processor
    assert found == "ViTImageProcessor (torchvision)"
