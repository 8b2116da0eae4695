"""Linear layers with weights packed once for the processor; a plain product packs them every time.

The operators are those that inductor compiles linear layers to: oneDNN's, private in PyTorch. If
they are missing or fail, a plain product is used.
"""

import os
from collections.abc import Callable, Iterable
from functools import cache, reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

PACKED_ROWS = 256  # expected rows of the inputs, a hint for the packing
LONGEST_SUM = 1024
# Settings of PyTorch and oneDNN, read at the first product. A step has one of 16 numbers of rows
# and three kinds of products: a kernel outside the cache is built again at each step, which cost
# bfloat16 on AMX a third of its speed. Each takes a megabyte, so 1,024 are too many.
for cache_of_kernels in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(cache_of_kernels, "64")

Multiply = Callable[[Tensor], Tensor]


class PackedLinear(nn.Module):
    """x @ weight.T + bias, limited to [-clip, clip], for inference.

    x is (row, in), in the type of `weight` (out, in).

    In float32, no more than LONGEST_SUM terms are added one after another: the rounding of longer
    sums shows in the fifth digit.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, clip: float | None = None
    ) -> None:
        super().__init__()
        pack = _pack if weight.device.type == "cpu" and can_pack(weight.dtype) else _keep
        bias, n_in = None if bias is None else bias.detach(), weight.shape[1]
        if weight.dtype != torch.float32 or weight.device.type != "cpu" or n_in <= LONGEST_SUM:
            self.multiply: Multiply = pack(weight.detach(), bias, clip)
            return
        columns = [slice(start, start + LONGEST_SUM) for start in range(0, n_in, LONGEST_SUM)]
        products = [
            pack(weight.detach()[:, part], bias if part.start == 0 else None, None)
            for part in columns
        ]
        self.multiply = lambda x: _clipped(
            _sum(product(x[:, part]) for product, part in zip(products, columns, strict=True)), clip
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (row, in) to (row, out)."""
        product: Tensor = self.multiply(x)
        return product


class PackedConvolution(nn.Module):
    """An unpadded one-dimensional convolution as a product with packed weights (out, in, width)."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.width = weight.shape[2]
        self.linear = PackedLinear(weight.transpose(1, 2).flatten(1), bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (sequence, in, place) to (sequence, out, place - width + 1)."""
        # The inputs of each place of the output, (sequence, place, width, in)
        seen = x.transpose(1, 2).unfold(1, self.width, 1).transpose(2, 3)
        products: Tensor = self.linear(seen.flatten(2).flatten(0, 1))
        return products.view(len(x), seen.shape[1], products.shape[1]).transpose(1, 2)


class RoundedInputs(nn.Module):
    """A product in a smaller dtype with float32 input and output."""

    def __init__(self, product: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.product = product
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """Round x, map it, and widen the result."""
        product: Tensor = self.product(x.to(self.dtype))
        return product.float()


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Return whether packed products of this dtype are available here, with correct results."""
    weight, x = torch.eye(32, dtype=dtype), torch.ones(2, 32, dtype=dtype)
    try:
        return bool(torch.equal(_pack(weight, x[0], 1.5)(x), torch.full_like(x, 1.5)))
    except (AttributeError, NotImplementedError, RuntimeError):
        return False


def _pack(weight: Tensor, bias: Tensor | None, clip: float | None) -> Multiply:
    operators = torch.ops.mkldnn
    packed = operators._reorder_linear_weight(weight, PACKED_ROWS)
    after, limits = ("none", []) if clip is None else ("hardtanh", [-clip, clip])
    return lambda x: operators._linear_pointwise(x, packed, bias, after, limits, "")


def _keep(weight: Tensor, bias: Tensor | None, clip: float | None) -> Multiply:
    return lambda x: _clipped(functional.linear(x, weight, bias), clip)


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return reduce(Tensor.add_, parts)  # into the first part


def _clipped(x: Tensor, clip: float | None) -> Tensor:
    return x if clip is None else x.clamp_(-clip, clip)
