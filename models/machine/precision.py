"""The numeric precisions that training knows, importable without torch."""

from typing import Literal

Precision = Literal["no", "bf16", "fp16"]
