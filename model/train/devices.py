"""Where training runs: one device by plain torch; several by accelerate, one process each."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from rsat_data.errors import UsageError
from rsat_data.optional import require


class Devices:
    """One device, without any library beyond torch."""

    rank, world = 0, 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module as it is to be called."""
        return module

    def autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 where a GPU has it; nothing on a CPU."""
        if self.device.type == "cuda" and torch.cuda.is_bf16_supported():
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Gradients of ``loss``."""
        loss.backward()  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """Until all processes are here."""


class ManyDevices(Devices):
    """A process of several, started by ``accelerate launch`` or torchrun; gradients are averaged over all."""

    def __init__(self) -> None:
        accelerate = require("accelerate", needed_for="Training in several processes")
        self._accelerator = accelerate.Accelerator(cpu=not torch.cuda.is_available())
        super().__init__(self._accelerator.device)
        self.rank, self.world = self._accelerator.process_index, self._accelerator.num_processes

    def prepare(self, module: nn.Module) -> nn.Module:
        """Wrapped, so that gradients are averaged."""
        prepared: nn.Module = self._accelerator.prepare_model(module)
        return prepared

    def backward(self, loss: Tensor) -> None:
        """Gradients of ``loss``, averaged."""
        self._accelerator.backward(loss)

    def wait(self) -> None:
        """Until all processes are here."""
        self._accelerator.wait_for_everyone()


def open_devices(name: str) -> Devices:
    """Devices for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; several processes where a launcher started several.

    Raises:
        UsageError: there is no such device here.
        MissingDependencyError: several processes, and accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return ManyDevices()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name!r} is none of auto, cpu, cuda, cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name!r} is none of auto, cpu, cuda, cuda:N.")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UsageError(f"--device {name}: this machine has {torch.cuda.device_count()} such devices for torch.")
    return Devices(device)
