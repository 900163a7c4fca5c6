"""Writes activations.json: what the functions of torch.nn.functional give in float64, by the options that stand for them.

    /usr/bin/python3 test/fused/make-activations-fixture.py
"""
import json
import os

import numpy as np
import torch
import torch.nn.functional as F


def checked(exact, function, x):
    """`exact`, a form that keeps small values, after comparing it with PyTorch's own: that takes exponentials off 1 or adds them to it."""
    assert torch.allclose(exact, function(x), rtol=1e-12, atol=1e-14, equal_nan=True)
    return exact


def elu(x, alpha):
    return checked(torch.where(x < 0, alpha * torch.expm1(x), x), lambda v: F.elu(v, alpha=alpha), x)


def gelu(x):
    return checked(x * (0.5 * torch.erfc(-x * 0.5**0.5)), F.gelu, x)


def gelu_tanh(x):
    w = (8 / np.pi) ** 0.5 * (x + 0.044715 * x**3)
    return checked(x * torch.sigmoid(w), lambda v: F.gelu(v, approximate="tanh"), x)


CASES = [
    ("relu", F.relu),
    ({"type": "clamp", "min": -1.5, "max": 6}, lambda x: torch.clamp(x, -1.5, 6)),
    ({"type": "clamp", "max": 0.25}, lambda x: torch.clamp(x, max=0.25)),
    ("leakyRelu", lambda x: F.leaky_relu(x, float(np.float32(0.01)))),
    ({"type": "leakyRelu", "negativeSlope": 0.25}, lambda x: F.leaky_relu(x, 0.25)),
    ("tanh", torch.tanh),
    ("sigmoid", torch.sigmoid),
    ("gelu", gelu),
    ({"type": "gelu", "approximate": "tanh"}, gelu_tanh),
    ("silu", F.silu),
    ("elu", lambda x: elu(x, 1)),
    ({"type": "elu", "alpha": 2.5}, lambda x: elu(x, 2.5)),
]

steps = np.concatenate([np.arange(-8, 8, 0.1875), [-100, -87.5, -40, -20, -12.5, 12.5, 20, 40, 90, -1e-3, 1e-3, 1e-20, -1e-20, 1e30, -1e30]])
x = np.concatenate([steps, [0.0, np.inf, -np.inf, np.nan]]).astype(np.float32)


def write(values):
    return [float(v) if np.isfinite(v) else str(v) for v in values]


given = torch.from_numpy(x.astype(np.float64))
cases = [{"activation": option, "y": write(function(given).numpy())} for option, function in CASES]
# One slope for each of two channels, one input after the other.
slopes = np.array([0.25, -2.0])
pairs = torch.from_numpy(np.stack([x, x]).astype(np.float64))[None]
cases.append({"activation": "prelu", "slopes": slopes.tolist(), "y": write(F.prelu(pairs, torch.from_numpy(slopes)).numpy().ravel())})
with open(os.path.join(os.path.dirname(__file__), "activations.json"), "w") as file:
    file.write('{\n"x": ' + json.dumps(write(x)) + ',\n"cases": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]\n}\n")
