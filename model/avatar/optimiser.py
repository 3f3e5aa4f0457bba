"""Adam over whole tensors in one pass, with state that follows Gaussians as they are split and pruned."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.raster.jit import fast_kernel, run_jobs

BETAS = (0.9, 0.999)
EPS = 1e-15
_BLOCK = 1 << 16


@fast_kernel
def _adam(value, grad, first, second, lr, correction1, correction2, eps):  # type: ignore[no-untyped-def]
    b1, b2 = np.float32(0.9), np.float32(0.999)
    one = np.float32(1.0)
    for i in range(len(value)):
        g = grad[i]
        m = b1 * first[i] + (one - b1) * g
        v = b2 * second[i] + (one - b2) * g * g
        first[i], second[i] = m, v
        value[i] -= lr * (m * correction1) / (np.sqrt(v * correction2) + eps)


class Adam:
    """Kingma and Ba's Adam (ICLR 2015) for named tensors, in place. Gradients that are not finite count as zero.

    Args:
        parameters: leaf tensors by name, float32.
        rates: step of each.
    """

    def __init__(self, parameters: dict[str, Tensor], rates: dict[str, float]) -> None:
        self.parameters, self.rates, self.count = parameters, rates, 0
        self.first = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.second = {name: torch.zeros_like(value) for name, value in parameters.items()}

    @torch.no_grad()
    def step(self, factor: float = 1.0, threads: int | None = None) -> None:
        """One step along the gradients there are; ``factor`` scales all rates. Gradients are cleared."""
        self.count += 1
        c1, c2 = 1 / (1 - BETAS[0] ** self.count), 1 / (1 - BETAS[1] ** self.count)
        jobs = []
        for name, value in self.parameters.items():
            grad, rate = value.grad, self.rates[name] * factor
            if grad is None or rate == 0:
                continue
            if not bool(torch.isfinite(grad.sum())):
                grad = torch.nan_to_num(grad, 0.0, 0.0, 0.0)
            first, second = self.first[name], self.second[name]
            if value.device.type == "cpu" and value.dtype == torch.float32:
                flat = [t.detach().reshape(-1).numpy() for t in (value, grad.contiguous(), first, second)]
                for start in range(0, len(flat[0]), _BLOCK):
                    part = [array[start : start + _BLOCK] for array in flat]
                    jobs.append((*part, np.float32(rate), np.float32(c1), np.float32(c2), np.float32(EPS)))
            else:
                first.lerp_(grad, 1 - BETAS[0])
                second.mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
                value.addcdiv_(first * c1, (second * c2).sqrt_().add_(EPS), value=-rate)
        run_jobs(_adam, jobs, threads)
        for value in self.parameters.values():
            value.grad = None

    def replace(self, parameters: dict[str, Tensor], parent: Tensor, fresh: Tensor) -> None:
        """Go on with other rows: row i descends from old row parent[i], and starts without history where fresh[i]."""
        keep = (~fresh).to(torch.float32)
        for name, value in parameters.items():
            shape = (-1, *(1,) * (value.ndim - 1))
            self.first[name] = (self.first[name][parent] * keep.view(shape)).contiguous()
            self.second[name] = (self.second[name][parent] * keep.view(shape)).contiguous()
        self.parameters = parameters
