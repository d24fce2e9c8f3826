"""Adapters that peft added lie in peft's own layout: peft alone opens them, and they are the only copy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_encoders import IMAGES, TITLES
from torch import Tensor
from transformers import AutoModel

from models import Recommender, SASRec, from_pretrained, save_pretrained
from models.adaptation import merge
from models.items import TrainedEncoders
from models.items.encoder_settings import EncoderSettings
from toolkit import UserError
from toolkit.json_files import read_json

FOLDER = "adapters/title"
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2, "biases": True},
    "dora": {"rank": 2},
    "ia3": {},
}
Build = Callable[..., Recommender]


@pytest.fixture
def build(tiny_bert: Path, tiny_vit: Path) -> Build:
    """A recommender over titles, or covers, after five updates of all that trains."""

    def build(method: str, tower: str = "title", **settings: Any) -> Recommender:
        torch.manual_seed(1)
        chosen = EncoderSettings(
            str(tiny_bert if tower == "title" else tiny_vit),
            source=tower,
            pooling="mean",
            adapt=method,
            adapt_settings=settings,
        )
        model = Recommender(
            TrainedEncoders({tower: chosen}, embedding_dim=8), SASRec(embedding_dim=8, max_len=5)
        )
        update(model.item_encoder)
        return model.eval()

    return build


def update(encoder: Any) -> None:
    optimizer = torch.optim.Adam([p for p in encoder.parameters() if p.requires_grad], lr=0.05)
    wanted = torch.randn(3, 8)
    for _ in range(5):
        optimizer.zero_grad()
        (vectors(encoder) - wanted).square().sum().backward()
        optimizer.step()


def vectors(encoder: Any) -> Tensor:
    (tower,) = encoder.sources
    found: Tensor = encoder(encoder.prepare({tower: TITLES if tower == "title" else IMAGES}))
    return found


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing.:FutureWarning"
)  # peft 0.21 asks for it
@pytest.mark.parametrize("tower", ["title", "cover"])
@pytest.mark.parametrize("method", METHODS)
def test_peft_alone_opens_them_over_the_base_encoder(
    method: str, tower: str, build: Build, tiny_bert: Path, tiny_vit: Path, tmp_path: Path
) -> None:
    model = build(method, tower, **METHODS[method])
    save_pretrained(model, tmp_path)
    base = tiny_bert if tower == "title" else tiny_vit
    opened = PeftModel.from_pretrained(
        AutoModel.from_pretrained(base), tmp_path / "adapters" / tower
    )
    encoder: Any = model.item_encoder.encoders[tower]  # type: ignore[index,union-attr]
    inputs = encoder.prepare(TITLES if tower == "title" else IMAGES)
    with torch.no_grad():
        theirs = opened.eval()(**inputs.tensors, output_hidden_states=True).hidden_states[-1]
        ours = encoder.hidden(inputs).states[-1]
        untouched = AutoModel.from_pretrained(base)(**inputs.tensors, output_hidden_states=True)
    torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(untouched.hidden_states[-1], ours, atol=1e-3)
    # No second copy, and a file like peft's own: no path of this machine, and the same bytes every time.
    added = [n for n, p in encoder.model.named_parameters() if p.requires_grad]
    assert len(load_file(tmp_path / "adapters" / tower / "adapter_model.safetensors")) == len(added)
    names = load_file(tmp_path / "model.safetensors")
    assert not any(name.startswith("item_encoder.encoders.") for name in names)
    written = (tmp_path / "adapters" / tower / "adapter_config.json").read_bytes()
    assert (
        read_json(tmp_path / "adapters" / tower / "adapter_config.json")["base_model_name_or_path"]
        == base.name
    )
    assert str(base.parent).encode() not in written
    save_pretrained(model, tmp_path)
    assert (tmp_path / "adapters" / tower / "adapter_config.json").read_bytes() == written


@pytest.mark.parametrize("method", [*METHODS, "prompt", "prefix", "layernorm", "houlsby"])
def test_outputs_are_the_same_after_saving_loading_and_merging(
    method: str, build: Build, tiny_bert: Path, tmp_path: Path
) -> None:
    """peft 1607 and 1689: a prompt encoder was gone after loading, and weights differed from those trained."""
    model = build(method, **METHODS.get(method, {}))
    save_pretrained(model, tmp_path)
    loaded = from_pretrained(tmp_path, encoders={"title": str(tiny_bert)})
    with torch.no_grad():
        expected = vectors(model.item_encoder)
        torch.testing.assert_close(vectors(loaded.item_encoder), expected, atol=1e-6, rtol=0)
        if method in (*METHODS, "layernorm"):
            merge(loaded.item_encoder.encoders["title"], method)  # type: ignore[index,union-attr]
            torch.testing.assert_close(vectors(loaded.item_encoder), expected, atol=1e-6, rtol=1e-5)
    # The folder holds what trains, and nothing of the base encoder.
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    files = [*tmp_path.rglob("*.safetensors")]
    assert sum(tensor.numel() for file in files for tensor in load_file(file).values()) == trained
    assert len(files) == 1 + (method in METHODS)


def test_files_of_two_versions_and_changed_files_are_refused(
    build: Build, tiny_bert: Path, tmp_path: Path
) -> None:
    base = {"title": str(tiny_bert)}
    save_pretrained(build("lora", rank=2), tmp_path)
    file = tmp_path / FOLDER / "adapter_model.safetensors"
    older = file.read_bytes()
    model = build("lora", rank=2)
    update(model.item_encoder)
    save_pretrained(model, tmp_path)
    from_pretrained(tmp_path, encoders=base)
    newer = file.read_bytes()
    file.write_bytes(older)
    with pytest.raises(UserError, match="changed since it was saved"):
        from_pretrained(tmp_path, encoders=base)
    file.write_bytes(newer)
    tensors = load_file(file)
    tensors.popitem()
    save_file(tensors, file)
    with pytest.raises(UserError, match=r"do not fit .*lora_\w.* is missing, expected \("):
        from_pretrained(tmp_path, encoders=base)
    file.unlink()
    with pytest.raises(UserError, match=r"do not fit .* is missing"):
        from_pretrained(tmp_path, encoders=base)
    file.write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"adapter_model\.safetensors: not a readable file"):
        from_pretrained(tmp_path, encoders=base)
