"""Writes test/io/fixtures: small .npy files by NumPy, and .safetensors files put together here as the format says.

    python3 test/io/make-fixtures.py
"""
import json
import pathlib
import struct

import numpy as np

folder = pathlib.Path(__file__).parent / 'fixtures'
folder.mkdir(exist_ok=True)

# Element i of every array is exact in all types that hold it: i - 5 (or i, unsigned), halves and thirds are added where they fit.
ramp = np.arange(12).reshape(2, 3, 2)


def save(name, array, version=None):
    with open(folder / f'{name}.npy', 'wb') as file:
        np.lib.format.write_array(file, array, version=version, allow_pickle=False)


floats = (ramp - 5) * 0.75
for version in (1, 2, 3):
    save(f'f4-v{version}', floats.astype('<f4'), (version, 0))
save('f4-big-endian', floats.astype('>f4'))
save('f4-fortran', np.asfortranarray(floats.astype('<f4')))
save('f4-big-endian-fortran', np.asfortranarray(floats.astype('>f4')))
save('f4-0d', np.array(1.5, '<f4'))
save('f4-1d', np.array([1, -2, np.inf, np.nan, -0.0], '<f4'))
save('f4-empty', np.zeros((3, 0, 2), '<f4'))
save('f4-fortran-empty', np.asfortranarray(np.zeros((3, 0, 2), '<f4')))
save('f4-5d-fortran', np.asfortranarray(np.arange(2 * 3 * 1 * 4 * 2, dtype='<f4').reshape(2, 3, 1, 4, 2)))
for order, word in (('<', 'little'), ('>', 'big')):
    for kind in ('f2', 'f8', 'i2', 'i4', 'i8', 'u2', 'u4', 'u8'):
        values = floats if kind[0] == 'f' else (ramp if kind[0] == 'u' else ramp - 5)
        save(f'{kind}-{word}', values.astype(order + kind))
save('i1', (ramp - 5).astype('i1'))
save('u1', ramp.astype('u1'))
save('f8-fortran', np.asfortranarray(floats.astype('<f8')))

# Values whose rounding to float32 NumPy decides: ties, one bit beside ties, overflow, subnormals, the largest integers.
one = 2.0**-24
hard = np.array([1 + one, 1 + 3 * one, 1 + one + 2.0**-52, 1e39, -1e39, 2.0**-150, 2.0**-149 * 1.5, 0.1, np.nan], '<f8')
save('f8-hard', hard)
with np.errstate(over='ignore'):
    save('f8-hard-as-f4', hard.astype('<f4'))
halves = np.concatenate([np.arange(0, 65536, 97), [0x8000, 0x0001, 0x03ff, 0x0400, 0x7bff, 0x7c00, 0xfc00, 0x7c01, 0xfe00]])
halves = halves.astype('<u2').view('<f2')
save('f2-hard', halves)
save('f2-hard-as-f4', halves.astype('<f4'))
integers = [2**63 - 1, -2**63, 2**53 + 1, 2**54 + 2**30 + 1, -(2**54 + 2**30 + 1), 2**60 + 2**36, 2**60 + 2**36 + 1, 2**24 + 1, -1]
save('i8-hard', np.array(integers, '<i8'))
save('i8-hard-as-f4', np.array(integers, '<i8').astype('<f4'))
unsigned = [2**64 - 1, 2**63, 2**63 + 2**39, 2**63 + 2**39 + 1, 0]
save('u8-hard', np.array(unsigned, '<u8'))
save('u8-hard-as-f4', np.array(unsigned, '<u8').astype('<f4'))

# Types that are refused.
save('bool', np.array([True, False]))
save('complex', np.array([1j], '<c8'))
save('structured', np.zeros(2, [('a', '<f4'), ('b', '<i4')]))
save('text', np.array(['ab']))


def safetensors(name, tensors, metadata=None):
    """tensors: {name: (dtype of the format, shape, bytes)}, in the order of their bytes."""
    header = {} if metadata is None else {'__metadata__': metadata}
    data = b''
    for key, (dtype, shape, content) in tensors.items():
        header[key] = {'dtype': dtype, 'shape': shape, 'data_offsets': [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(',', ':'), ensure_ascii=False).encode()
    text += b' ' * (-len(text) % 8)
    (folder / f'{name}.safetensors').write_bytes(struct.pack('<Q', len(text)) + text + data)


f4 = floats.astype('<f4')
# bfloat16 by truncation: exact for these values.
bf16 = (f4.view('<u4') >> 16).astype('<u2')
safetensors('layer', {
    'bias': ('F32', [2], np.array([0.5, -1.5], '<f4').tobytes()),
    'weight': ('F32', [2, 3, 2], f4.tobytes()),
}, {'format': 'pt', 'naïve': 'ключ "quoted" \n'})
safetensors('types', {
    'f64': ('F64', [2, 3, 2], floats.astype('<f8').tobytes()),
    'i64': ('I64', [2, 3, 2], (ramp - 5).astype('<i8').tobytes()),
    'f32': ('F32', [2, 3, 2], f4.tobytes()),
    'i32': ('I32', [12], (ramp - 5).astype('<i4').tobytes()),
    'bf16': ('BF16', [2, 3, 2], bf16.tobytes()),
    'f16': ('F16', [2, 3, 2], floats.astype('<f2').tobytes()),
    'u8': ('U8', [3, 4], ramp.astype('u1').tobytes()),
    'bool': ('BOOL', [3], b'\1\0\1'),
    'f4': ('F4', [2, 3], b'\x12\x34\x56'),
    'scalar': ('F32', [], np.array(2.5, '<f4').tobytes()),
    'empty': ('F32', [0, 7], b''),
})
safetensors('nothing', {})
