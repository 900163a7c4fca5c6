"""Helper process of torch.mjs: PyTorch's side of the bench.

Reads one JSON command per line from the standard input and answers each with one JSON line. Tensors travel as files of raw
32-bit floats.

  {"make": {"shapes": {input, weight, output}, "files": {input, weight, bias}, "settings": {...}}}  -> {}
  {"turn": side, "milliseconds": m}  -> {"times": [...]}   calls until m milliseconds have passed, at least one
  {"output": side, "file": path}     -> {}                 what the last call gave
  {"free": true}                     -> {}

The sides compute the same: "torch" is torch.nn.functional.conv_transposeNd, "torchGradient" the gradient of convNd with
respect to its input (the mathematical definition of a transposed convolution, and another code path), plus the bias.
"""
import json
import os
import re
import sys
import time

import torch


def blas():
    """The file of the matrix products, which decides how fast conv_transpose is; "" where it cannot be known."""
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))
    try:
        with open("/proc/self/maps") as maps:
            files = {line.split()[-1] for line in maps if re.search(r"/lib(openblas|mkl|blis|blas)[^/]*$", line)}
    except OSError:
        return ""
    return " ".join(sorted(os.path.basename(os.path.realpath(file)) for file in files))


def make(layer):
    def read(name, shape):
        path = layer["files"][name]
        return None if path is None else torch.from_file(path, size=torch.Size(shape).numel()).reshape(shape).clone()

    shapes, settings = layer["shapes"], layer["settings"]
    x = read("input", shapes["input"])
    weight = read("weight", shapes["weight"])
    bias = read("bias", [shapes["output"][1]])
    stride, padding, output_padding, dilation = (
        settings[name] for name in ("stride", "padding", "outputPadding", "dilation")
    )
    groups = settings["groups"]
    rank = len(stride)
    conv_transpose = getattr(torch.nn.functional, f"conv_transpose{rank}d")
    # Only the sizes of the convolution's input matter for the gradient.
    conv_input = torch.empty(shapes["output"])
    per_channel = None if bias is None else bias.reshape([1, -1] + [1] * rank)

    def gradient():
        y = torch.ops.aten.convolution_backward(
            x, conv_input, weight, None, stride, padding, dilation, False, [0] * rank, groups, [True, False, False]
        )[0]
        return y if per_channel is None else y.add_(per_channel)

    return {
        "torch": lambda: conv_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation),
        "torchGradient": gradient,
    }


def main():
    threads = int(sys.argv[1])
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    print(json.dumps({"version": torch.__version__, "blas": blas()}), flush=True)
    sides, results = {}, {}
    for line in sys.stdin:
        command = json.loads(line)
        answer = {}
        if "make" in command:
            sides = make(command["make"])
        elif "turn" in command:
            call, times, total = sides[command["turn"]], [], 0.0
            while not times or total < command["milliseconds"]:
                start = time.perf_counter()
                y = call()
                times.append((time.perf_counter() - start) * 1e3)
                total += times[-1]
            results[command["turn"]] = y
            answer = {"times": times}
        elif "output" in command:
            results[command["output"]].contiguous().numpy().tofile(command["file"])
        else:
            sides, results = {}, {}
        print(json.dumps(answer), flush=True)


main()
