"""Learning-rate groups: modules declare their group, and the optimizer is built from the declarations."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from torch import Tensor, nn

_MATRICES = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)
M = TypeVar("M", bound=nn.Module)


def in_group(module: M, group: str) -> M:
    """Declares the learning-rate group of a module and of its submodules that declare none.

    Args:
        module: the module, which is returned.
        group: name of the group; the optimizer requires a rate for it.
    """
    module.rate_group = group  # type: ignore[assignment]
    return module


def of_ids(module: M) -> M:
    """Declares that a module has weights per item or user of one dataset, which mean nothing in another (`init_from`).

    Args:
        module: the module, which is returned.
    """
    module.per_id = True  # type: ignore[assignment]
    return module


def id_names(module: nn.Module) -> set[str]:
    """The names of the tensors in a module that belong to items or users of one dataset (`of_ids`)."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in module.named_modules()
        if getattr(part, "per_id", False)
        for name in part.state_dict()
    }


def kept_state(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module that are saved with it: all but those of base encoders, which are loaded from elsewhere.

    A module declares the names of such tensors in it as `base_names`. A tensor with several names has the first. Of a
    tensor that is sharded, it is this process's shard (`gathered`).
    """
    left_out = {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in module.named_modules()
        for name in getattr(part, "base_names", ())
    }
    kept: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if name not in left_out and id(tensor) not in seen:
            seen.add(id(tensor))
            kept[name] = tensor.detach()
    return kept


def load_kept_state(
    module: nn.Module, tensors: Mapping[str, Tensor], *, assign: bool = False
) -> None:
    """Gives a module the tensors that `kept_state` returned; what is left out stays as it was loaded.

    Raises:
        RuntimeError: if they are not those that the module keeps.
    """
    kept = kept_state(module)
    differing = set(kept) ^ set(tensors)
    if differing:
        raise RuntimeError(f"the weights differ in {', '.join(sorted(differing)[:5])}")
    shards = {name: shard_like(kept[name], value) for name, value in tensors.items()}
    module.load_state_dict(
        shards, strict=False, assign=assign and not any(map(is_sharded, kept.values()))
    )


def is_sharded(tensor: Tensor) -> bool:
    """Whether a process holds a shard of the tensor (`models.machine.sharding`), a DTensor of torch."""
    return hasattr(tensor, "full_tensor")


def gathered(tensors: Mapping[str, Tensor], *, wanted: bool = True) -> dict[str, Tensor]:
    """The tensors on the CPU, whole and contiguous. All processes call it if one is sharded; one at a time is whole.

    Args:
        tensors: by name, in the same order in all processes.
        wanted: whether this process wants them; otherwise it only takes part.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if is_sharded(tensor):
            tensor = tensor.full_tensor()  # type: ignore[attr-defined]
        if wanted:
            found[name] = tensor.detach().cpu().contiguous()
    return found


def shard_like(like: Tensor, whole: Tensor) -> Tensor:
    """A tensor, sharded as another is, from the whole that every process has; the whole if the other is not sharded.

    Raises:
        ValueError: if their shapes differ.
    """
    if not is_sharded(like):
        return whole
    from torch.distributed.tensor import DTensor, distribute_tensor  # imports of half a second

    assert isinstance(like, DTensor)
    if like.shape != whole.shape:
        raise ValueError(f"a tensor is {tuple(whole.shape)}, expected {tuple(like.shape)}")
    mesh = like.device_mesh
    return distribute_tensor(whole.to(mesh.device_type), mesh, like.placements, src_data_rank=None)


def count_trainable(module: nn.Module) -> int:
    """The number of trainable parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def decayed(module: nn.Module) -> set[nn.Parameter]:
    """The trainable parameters to which weight decay applies: matrices that multiply a layer's input.

    Biases, normalisations, gates and embeddings are excluded, as in the training code of BERT and later models
    (Loshchilov and Hutter 2019 include them). A module that has such matrices but is not a torch class declares
    `decays = True`.
    """
    matrices = [
        parameter
        for part in module.modules()
        if isinstance(part, _MATRICES) or getattr(part, "decays", False)
        for parameter in part.parameters(recurse=False)
        if parameter.ndim > 1
    ]
    return {parameter for parameter in matrices if parameter.requires_grad}


def rate_groups(module: nn.Module, group: str = "base") -> Iterator[tuple[str, nn.Parameter]]:
    """Yields every trainable parameter with its group, which the innermost declaring module around it sets."""
    group = getattr(module, "rate_group", group)
    for parameter in module.parameters(recurse=False):
        if parameter.requires_grad:
            yield group, parameter
    for child in module.children():
        yield from rate_groups(child, group)
