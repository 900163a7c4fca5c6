#!/usr/bin/env python3
"""Writes init.json: PyTorch's default initialisation of nn.ConvTransposeNd for some layers and seeds, as float32 bits.

    python3 make-init-fixture.py > init.json
"""
import json
import warnings
import zlib

import torch

# dims, in, out, kernel, groups, bias, seed
LAYERS = [
    (1, 1, 1, [1], 1, True, 0),
    (1, 2, 3, [3], 1, True, 1),
    (1, 3, 1, [7], 1, True, 9),
    (1, 4, 6, [5], 2, True, 2**32 - 1),
    (2, 3, 3, [3, 3], 1, True, 0),
    (2, 3, 5, [2, 3], 1, True, 7),
    (2, 4, 4, [1, 1], 4, True, 3),
    (2, 8, 8, [3, 3], 8, True, 123456789),
    (2, 16, 33, [3, 3], 1, False, 42),
    (2, 64, 64, [4, 4], 1, True, 31337),
    (3, 2, 2, [2, 2, 2], 1, True, 5),
    (3, 4, 6, [1, 2, 3], 2, True, 2**31),
    (2, 0, 4, [3, 3], 1, True, 3),
    (2, 4, 0, [3, 3], 1, True, 3),
]

# Long tensors are kept as the CRC-32 of their little-endian bytes, besides their first values.
SHOWN = 24


def describe(tensor):
    if tensor is None:
        return None
    values = tensor.detach()
    bits = values.view(torch.int32).flatten().tolist() if values.numel() else []
    return {"shape": list(values.shape), "first": bits[:SHOWN], "crc32": zlib.crc32(values.numpy().tobytes())}


def main():
    warnings.simplefilter("ignore")  # about layers without weights
    classes = [torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d]
    lines = []
    for dims, inputs, outputs, kernel, groups, bias, seed in LAYERS:
        torch.manual_seed(seed)
        layer = classes[dims - 1](inputs, outputs, kernel, groups=groups, bias=bias)
        row = {
            "inChannels": inputs,
            "outChannels": outputs,
            "kernel": kernel,
            "groups": groups,
            "seed": seed,
            "weight": describe(layer.weight),
            "bias": describe(layer.bias),
        }
        lines.append(json.dumps(row))
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()
