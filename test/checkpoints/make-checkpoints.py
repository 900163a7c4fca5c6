"""Writes the checkpoints of two networks with random weights and statistics, and what PyTorch computes with them.

    /usr/bin/python3 test/checkpoints/make-checkpoints.py FOLDER [--full]

For each network NAME.safetensors (its state dictionary) and NAME-expected.safetensors: an input `x`, the output `y` in float32 and
`exact`, the output in float64. Without --full the networks have few channels. Needs torch and numpy.
"""
import json
import pathlib
import struct
import sys

import torch
from torch import nn

TYPES = {torch.float32: ("F32", "<f4"), torch.float64: ("F64", "<f8"), torch.int64: ("I64", "<i8")}


def save(path, tensors):
    """A .safetensors file as the format says."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        word, kind = TYPES[tensor.dtype]
        content = tensor.detach().numpy().astype(kind).tobytes()
        header[name] = {"dtype": word, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Generator(nn.Module):
    """The generator of DCGAN (Radford et al., 2015), as in PyTorch's examples."""

    def __init__(self, latent, features):
        super().__init__()
        layers = []
        sizes = [latent, features * 8, features * 4, features * 2, features]
        for i, (before, after) in enumerate(zip(sizes, sizes[1:])):
            stride, padding = (1, 0) if i == 0 else (2, 1)
            layers += [nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False), nn.BatchNorm2d(after), nn.ReLU(True)]
        layers += [nn.ConvTranspose2d(features, 3, 4, 2, 1, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(self, x):
        return self.main(x)


class Head(nn.Module):
    """The head of SimpleBaseline (Xiao et al., 2018): three transposed convolutions, then a convolution of 1 x 1."""

    def __init__(self, before, features):
        super().__init__()
        layers = []
        for _ in range(3):
            layers += [nn.ConvTranspose2d(before, features, 4, 2, 1, bias=False), nn.BatchNorm2d(features), nn.ReLU(inplace=True)]
            before = features
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(features, 17, 1)

    def forward(self, x):
        return self.final_layer(self.deconv_layers(x))


def randomize(network):
    """Weights as PyTorch makes them, scaled so that activations neither vanish nor saturate; any statistics."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.05, 0.5)
                module.weight.normal_(1, 0.2)
                module.bias.normal_(0, 0.2)


folder = pathlib.Path(sys.argv[1])
full = "--full" in sys.argv
torch.manual_seed(5)
for name, network, shape in (
    ("dcgan", Generator(100, 64) if full else Generator(12, 4), (4 if full else 1, 100 if full else 12, 1, 1)),
    ("simple-baseline", Head(2048, 256) if full else Head(32, 16), (1, 2048, 8, 6) if full else (1, 32, 4, 3)),
):
    randomize(network)
    network.eval()
    x = torch.randn(shape)
    with torch.no_grad():
        y = network(x)
        state = {key: value.clone() for key, value in network.state_dict().items()}
        exact = network.double()(x.double())
    save(folder / f"{name}.safetensors", state)
    save(folder / f"{name}-expected.safetensors", {"x": x, "y": y, "exact": exact})
