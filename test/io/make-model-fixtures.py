"""Writes test/io/fixtures: state dictionaries and ONNX models made by PyTorch and onnx, and what PyTorch computes with them in float64.

    python3 test/io/make-model-fixtures.py

Needs torch, numpy and onnx (Debian: python3-torch python3-onnx).
"""
import io
import json
import pathlib
import struct

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

folder = pathlib.Path(__file__).parent / 'fixtures'
torch.manual_seed(11)
F64, F32 = {'name': 'F64', 'type': '<f8'}, {'name': 'F32', 'type': '<f4'}


def save(name, tensors, kind):
    """A .safetensors file as the format says."""
    header, data = {}, b''
    for key, tensor in tensors.items():
        dtype = {'name': 'I64', 'type': '<i8'} if tensor.dtype == torch.int64 else kind
        content = tensor.detach().numpy().astype(dtype['type']).tobytes()
        header[key] = {'dtype': dtype['name'], 'shape': list(tensor.shape), 'data_offsets': [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    (folder / f'{name}.safetensors').write_bytes(struct.pack('<Q', len(text)) + text + data)


# Layers under the prefixes that the tests name. Every input and output goes into layers-expected.
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(6, 4, (3, 4), stride=2, groups=2, bias=False), nn.BatchNorm2d(4),  # main.0, main.1
            nn.ConvTranspose2d(4, 3, 2, stride=2), nn.BatchNorm2d(3, eps=1e-3, affine=False))  # main.2, main.3
        norm = nn.utils.weight_norm
        self.ups = nn.ModuleList([
            norm(nn.ConvTranspose1d(4, 6, 8, stride=4, padding=2)),
            norm(nn.ConvTranspose1d(6, 2, 3, groups=2), dim=1),
            norm(nn.ConvTranspose1d(2, 3, 3), dim=None),
            norm(nn.ConvTranspose3d(2, 2, 2, bias=False)),
        ])
        self.bns = nn.ModuleList([nn.BatchNorm1d(6)])


network = Network()
with torch.no_grad():
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.1, 3)
            if module.affine:
                module.weight.normal_()
                module.bias.normal_()
        if hasattr(module, 'weight_g'):
            module.weight_g.uniform_(0.5, 2)
state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
# The spelling of torch.nn.utils.parametrizations.weight_norm.
for key in ('weight_g', 'weight_v'):
    state[f'new.parametrizations.weight.original{int(key == "weight_v")}'] = state[f'ups.0.{key}']
state['new.bias'] = state['ups.0.bias']
save('layers', state, F32)

network = network.double().eval()
for layer in network.ups:  # the norm is computed in float64 as well
    for hook in layer._forward_pre_hooks.values():
        hook(layer, None)
expected = {}


def record(name, layers, shape):
    x = torch.randint(-8, 9, shape).double() / 8
    y = x
    for layer in layers:
        y = layer(y)
    expected[f'{name}.x'], expected[f'{name}.y'] = x, y
    weight = layers[0].weight
    expected[f'{name}.weight'] = weight


record('main.0', [network.main[0]], (2, 6, 3, 2))
record('main.0+main.1', [network.main[0], network.main[1]], (2, 6, 3, 2))
record('main.2+main.3', [network.main[2], network.main[3]], (1, 4, 3, 3))
record('ups.0', [network.ups[0]], (1, 4, 7))
record('ups.0+bns.0', [network.ups[0], network.bns[0]], (2, 4, 5))
record('ups.1', [network.ups[1]], (1, 6, 4))
record('ups.2', [network.ups[2]], (1, 2, 4))
record('ups.3', [network.ups[3]], (1, 2, 2, 2, 2))
save('layers-expected', expected, F64)

# A model as torch.onnx.export writes it.
exported = nn.Sequential(
    nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
    nn.ConvTranspose2d(4, 6, (2, 3), stride=(2, 1), dilation=(1, 2), groups=2, bias=False)).eval()
x = torch.randint(-8, 9, (1, 3, 4, 5)).float() / 8
buffer = io.BytesIO()
torch.onnx.export(exported, x, buffer, opset_version=11)
(folder / 'exported.onnx').write_bytes(buffer.getvalue())
exported.double()
middle = exported[1](exported[0](x.double()))
save('exported-expected', {'x': x, 'middle': middle, 'y': exported[2](middle)}, F64)

# Every way to store a tensor; the weights are (0..5 - 2) * 0.75 in all of them, exact in every type.
values = ((np.arange(6) - 2) * 0.75).astype(np.float32).reshape(2, 3, 1)


def stored(name, dtype, raw):
    if dtype == TensorProto.BFLOAT16:
        bits = (values.view(np.uint32) >> 16).astype(np.uint16)
        tensor = TensorProto(name=name, dims=values.shape, data_type=dtype)
        if raw:
            tensor.raw_data = bits.tobytes()
        else:
            tensor.int32_data.extend(int(b) for b in bits.flatten())
        return tensor
    array = values.astype({TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.DOUBLE: np.float64}[dtype])
    if raw:
        return helper.make_tensor(name, dtype, values.shape, array.tobytes(), raw=True)
    return helper.make_tensor(name, dtype, values.shape, array.flatten())


def value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


nodes, initializers = [], []
for word, dtype in (('float', TensorProto.FLOAT), ('float16', TensorProto.FLOAT16), ('bfloat16', TensorProto.BFLOAT16), ('double', TensorProto.DOUBLE)):
    for raw in (True, False):
        name = f'{word}-{"raw" if raw else "typed"}'
        initializers.append(stored(name, dtype, raw))
        nodes.append(helper.make_node('ConvTranspose', ['x', name], [f'y-{name}'], name=name))
nodes.append(helper.make_node('Constant', [], ['constant'], value=stored('inside', TensorProto.FLOAT, True)))
nodes.append(helper.make_node('ConvTranspose', ['x', 'constant', 'bias'], ['y-constant'], auto_pad='SAME_LOWER', strides=[2], output_padding=[1]))
initializers.append(helper.make_tensor('bias', TensorProto.FLOAT, [3], [1.0, 2.0, 3.0]))
nodes.append(helper.make_node('ConvTranspose', ['x', 'w'], ['y-dynamic'], name='dynamic', group=1, kernel_shape=[1], pads=[0, 0], dilations=[3], output_shape=[4]))
branch = helper.make_graph(
    [helper.make_node('ConvTranspose', ['x', 'float-raw'], ['y-outer'], name='outer'), helper.make_node('ConvTranspose', ['x', 'own'], ['y-own'], name='inner')],
    'branch', [], [value('y-own', None)], [stored('own', TensorProto.FLOAT, True)])
other = helper.make_graph([helper.make_node('Identity', ['x'], ['same'])], 'other', [], [value('same', None)])
nodes.append(helper.make_node('If', ['condition'], ['y-if'], then_branch=branch, else_branch=other))
nodes.append(helper.make_node('ConvTranspose', ['x', 'float-raw'], ['y-other'], domain='com.example', name='not ours'))
inputs = [value('x', [1, 2, 4]), value('w', [2, 3, 1]), helper.make_tensor_value_info('condition', TensorProto.BOOL, [])]
graph = helper.make_graph(nodes, 'types', inputs, [value('y-float-raw', None)], initializers)
(folder / 'types.onnx').write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 11), helper.make_opsetid('com.example', 1)]).SerializeToString())

# Elements in another file.
external = TensorProto(name='far', dims=values.shape, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
for key, text in (('location', 'weights/far.bin'), ('offset', '16'), ('length', str(values.nbytes))):
    external.external_data.add(key=key, value=text)
(folder / 'weights').mkdir(exist_ok=True)
(folder / 'weights' / 'far.bin').write_bytes(b'\xff' * 16 + values.tobytes() + b'\xff' * 3)
graph = helper.make_graph([helper.make_node('ConvTranspose', ['x', 'far'], ['y'])], 'external', [value('x', [1, 2, 4])], [value('y', None)], [external])
(folder / 'external.onnx').write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)]).SerializeToString())

# .npz archives.
floats = (np.arange(12).reshape(2, 3, 2) - 5) * 0.75
arrays = {'weight': floats.astype('<f4'), 'bias': np.array([0.5, -1.5], '<f4'), 'half': floats.astype('<f2'), 'fortran': np.asfortranarray(floats.astype('>f4'))}
np.savez(folder / 'stored.npz', **arrays)
np.savez_compressed(folder / 'deflated.npz', **arrays)
