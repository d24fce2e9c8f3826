"""The operations that a function dispatches, and its matrix products, which can be run alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

UNMARKED_VIEWS = {"_unsafe_view"}  # views that PyTorch does not mark as such
# The index of the first of two factors among the arguments.
PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "addmm_": 1, "baddbmm": 1, "baddbmm_": 1}
THIN = 8  # a product with a shorter side is a weighted sum of a few tensors, or a few sums


@dataclass(frozen=True)
class Product:
    """The sizes of `batch` matrix products (rows, inner) x (inner, columns).

    Args:
        batch: number of products; 1 for a product of two matrices.
        rows: of the left factor.
        inner: columns of the left factor, rows of the right one.
        columns: of the right factor.
        dtype: of the factors.
        transposed: of each factor, whether its columns are contiguous, not its rows.
    """

    batch: int
    rows: int
    inner: int
    columns: int
    dtype: torch.dtype = torch.float32
    transposed: tuple[bool, bool] = (False, False)

    @classmethod
    def of(cls, left: Tensor, right: Tensor) -> "Product":
        """The product of two tensors, (rows, inner) or (batch, rows, inner)."""
        batch = len(left) if left.ndim == 3 else 1
        transposed = (left.stride(-1) > 1, right.stride(-1) > 1)
        return cls(batch, left.shape[-2], left.shape[-1], right.shape[-1], left.dtype, transposed)

    @property
    def flops(self) -> int:
        """Floating-point operations: a multiplication and an addition per term."""
        return 2 * self.batch * self.rows * self.inner * self.columns


class Operations(TorchDispatchMode):
    """Counts the operations that PyTorch dispatches within a `with` block, forward and backward.

    Views, which compute nothing, and marks of the profiler are left out.

    Attributes:
        counts: number of dispatches by the name of the operation, such as `aten.mm.default`.
        products: the matrix products, in order. Thin ones (`THIN`) and those within another operation, such as fused
            attention, are left out.

    >>> with Operations() as operations:
    ...     result = torch.ones(20, 30).relu().T @ torch.ones(20, 50)
    >>> operations.total, operations.products[0].flops
    (4, 60000)
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.products: list[Product] = []

    @property
    def total(self) -> int:
        """Number of operations."""
        return self.counts.total()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Counts an operation and runs it."""
        name = operation.overloadpacket.__name__
        if not (operation.is_view or name in UNMARKED_VIEWS or operation.namespace == "profiler"):
            self.counts[str(operation)] += 1
        if name in PRODUCTS:
            product = Product.of(*args[PRODUCTS[name] :][:2])
            if min(product.rows, product.inner, product.columns) >= THIN:
                self.products.append(product)
        return operation(*args, **(kwargs or {}))


class ProductsAlone:
    """Runs matrix products of given sizes and nothing else. Results are not allocated; equal sizes share their factors.

    Args:
        products: the sizes, in order.
        device: where the products run.
    """

    def __init__(self, products: Sequence[Product], *, device: torch.device | str = "cpu") -> None:
        operands = {product: _operands(product, device) for product in products}
        self.operands = [operands[product] for product in products]

    def __call__(self) -> None:
        """Runs every product once."""
        for left, right, out in self.operands:
            torch.matmul(left, right, out=out)


def _operands(product: Product, device: torch.device | str) -> tuple[Tensor, Tensor, Tensor]:
    """Both factors and the result."""
    batch = (product.batch,) if product.batch > 1 else ()
    result = (product.rows, product.columns)
    factors = ((product.rows, product.inner), (product.inner, product.columns))
    left, right = (
        torch.ones(*batch, *size[::-1], dtype=product.dtype, device=device).mT
        if transposed
        else torch.ones(*batch, *size, dtype=product.dtype, device=device)
        for size, transposed in zip(factors, product.transposed, strict=True)
    )
    return left, right, torch.ones(*batch, *result, dtype=product.dtype, device=device)
