"""How an encoder's weights are loaded: where they lie and in which precision they compute."""

import importlib.util
from dataclasses import dataclass
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from toolkit.backbones.spec import Precision, Quantize
from toolkit.errors import UserError


@dataclass(frozen=True)
class Weights:
    """Where weights lie and in which precision they compute.

    Args:
        device: where to compute.
        device_map: what transformers takes instead, to spread a model: auto, balanced, ...
        dtype: `auto` is float32 on a CPU and `saved` elsewhere; `saved` is what the weights were saved in.
        quantize: `8bit` or `4bit` loads them so through bitsandbytes.
    """

    device: str = "cpu"
    device_map: str | None = None
    dtype: Precision = "auto"
    quantize: Quantize = "none"

    @property
    def options(self) -> dict[str, Any]:
        """What `from_pretrained` takes.

        Raises:
            UserError: if bitsandbytes is asked for and not installed.
        """
        options: dict[str, Any] = {"device_map": self._place, "dtype": self._dtype}
        if self.quantize != "none":
            options["quantization_config"] = self._quantization()
        return options

    @property
    def _place(self) -> str:
        return self.device_map or self.device

    @property
    def _dtype(self) -> str:
        """As transformers calls it, whose auto is our `saved`."""
        if self.dtype == "auto":
            on_cpu = self._place == "cpu" or not torch.cuda.is_available()
            return "float32" if on_cpu else "auto"
        return "auto" if self.dtype == "saved" else self.dtype

    def _quantization(self) -> BitsAndBytesConfig:
        if importlib.util.find_spec("bitsandbytes") is None:
            raise UserError(
                f"quantize is {self.quantize}, which needs bitsandbytes, and it is not installed; "
                "run: pip install 'versa-toolkit[quantize]', or set quantize to none"
            )
        if self.quantize == "8bit":
            return BitsAndBytesConfig(load_in_8bit=True)
        # The 4-bit form of QLoRA (arXiv 2305.14314); its products are taken in bfloat16.
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype="bfloat16",
        )
