"""The device that this machine offers."""

from .._errors import UsageError, short


def find_device(name: str = "") -> str:
    """Return a device to train on: the one of this name, or the best there is.

    Raises:
        UsageError: no such device, or none on this machine.
    """
    import torch

    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if not name:
        return next(kind for kind in ("cuda", "mps", "cpu") if counts[kind])
    try:
        device = torch.device(name)
        fits = (device.index or 0) < counts.get(device.type, 0)
    except RuntimeError:
        fits = False
    if not fits:
        there = ", ".join(f"{kind} ({count})" for kind, count in counts.items() if count)
        raise UsageError(f"device must be cpu, cuda, cuda:1 or mps, and be on this machine, got {short(name)}; here is {there}")
    return name
