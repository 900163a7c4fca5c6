"""Finds the coefficients of native/kernels/finish.inl.h; prints them with their errors. Needs numpy.

The maximum of the relative error is minimised by least squares with weights that grow where the error is largest (Lawson's
iteration), on Chebyshev's points. Coefficients of e^r - 1 are rounded to float32 one after the other, the rest fitted anew.
"""
import math

import numpy as np

POINTS = 4001


def chebyshev(low, high):
    return (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)


def minimax(columns, wanted, rounds=100):
    weights = np.ones(len(wanted))
    best = (math.inf, None)
    for _ in range(rounds):
        root = np.sqrt(weights)
        found = np.linalg.lstsq(columns * root[:, None], wanted * root, rcond=None)[0]
        error = np.abs(columns @ found - wanted)
        best = min(best, (error.max(), list(found)), key=lambda pair: pair[0])
        weights = weights * (error / error.max() + 1e-3)
        weights /= weights.sum()
    return best


def exponential():
    """e^r - 1 = r + r^2/2 + c3 r^3 + ... + c6 r^6 for |r| a little beyond log(2)/2."""
    r = chebyshev(-0.34675, 0.34675)
    wanted = np.expm1(r)
    rest = wanted - r - r * r / 2
    coefficients = []
    for power in range(3, 7):
        columns = np.stack([r**k / wanted for k in range(power, 7)], axis=1)
        coefficient = float(np.float32(minimax(columns, rest / wanted)[1][0]))
        coefficients.append(coefficient)
        rest = rest - coefficient * r**power
    return coefficients, np.abs(rest / wanted).max()


def normal_tail(t):
    """e^(t^2/2) times the probability that a normal variable exceeds t >= 0, to 17 digits."""
    x = np.longdouble(t) / np.sqrt(np.longdouble(2))
    root_pi = np.sqrt(4 * np.arctan(np.longdouble(1)))
    if x < 3:
        total, term, n = np.longdouble(0), x, 0
        while abs(term) > 1e-25:
            total += term
            n += 1
            term = term * 2 * x * x / (2 * n + 1)
        return float((np.exp(x * x) - 2 / root_pi * total) / 2)
    fraction = np.longdouble(0)
    for k in range(200, 0, -1):
        fraction = (np.longdouble(k) / 2) / (x + fraction)
    return float(1 / (root_pi * (x + fraction)) / 2)


def tail(slope=0.35, largest=15.0, degree=9):
    """The above as s*(g1 + g2 s + ... + g9 s^8) with s = 1/(1 + slope*t), for t in [0, largest]."""
    s = chebyshev(1 / (1 + slope * largest), 1)
    wanted = np.array([normal_tail((1 / value - 1) / slope) for value in s])
    error, coefficients = minimax(np.stack([s**k / wanted for k in range(1, degree + 1)], axis=1), np.ones(len(s)))
    return [float(np.float32(c)) for c in coefficients], error


for name, (coefficients, error) in (("e^r - 1, from r^3", exponential()), ("normal tail, from s", tail())):
    print(name, [float.hex(c) for c in coefficients], f"relative error 2^{math.log2(error):.1f}")
