"""The device of a command that runs in one process."""


def best_device() -> str:
    """The GPU if there is one, else the CPU."""
    import torch  # here, so that the help of a command does not wait for it

    return "cuda" if torch.cuda.is_available() else "cpu"
