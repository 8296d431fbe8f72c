# SPDX-License-Identifier: Apache-2.0
"""Fits the coefficients of src/kpt/kernels/lib/cpu/math.h and prints them with the error of the exact fit.

Each function is a polynomial or an odd rational x P(x^2) / Q(x^2), least squares on Chebyshev points, reweighted
towards the largest errors (Lawson) until the maximum is level. References come from mpmath with 50 digits. The error of
the code in float arithmetic is measured by math_test.cpp against long double functions.

    python tools/fit_math.py
"""

import mpmath as mp
import numpy as np

mp.mp.dps = 50


def chebyshev(lo, hi, n=1500):
    return lo + (hi - lo) * (1 - np.cos(np.pi * (np.arange(n) + 0.5) / n)) / 2


def polynomial(x, f, weight, degree):
    """P of `degree` with the least max |weight (P(x) - f)|."""
    powers = np.vander(x, degree + 1, increasing=True)
    lawson = np.ones_like(x)
    best = (np.inf, None)
    for _ in range(300):
        w = weight * np.sqrt(lawson)
        c = np.linalg.lstsq(powers * w[:, None], f * w, rcond=None)[0]
        error = np.abs(weight * (powers @ c - f))
        best = min(best, (error.max(), tuple(c)))
        lawson *= error / error.max() + 1e-9
        lawson /= lawson.sum()
    return best


def odd_rational(x, f, weight, p_degree, q_degree):
    """x P(x^2) / Q(x^2), Q(0) = 1, with the least max |weight (R(x) - f)|. Linearised: (x P - f Q) / Q_previous."""
    scale = x.max() ** 2
    u = x * x / scale  # in [0, 1], else the powers span too many decades
    p_powers = np.vander(u, p_degree + 1, increasing=True) * x[:, None]
    q_powers = np.vander(u, q_degree + 1, increasing=True)
    lawson = np.ones_like(x)
    previous = np.ones_like(x)
    best = (np.inf, None, None)
    for _ in range(400):
        w = weight * np.sqrt(lawson) / previous
        system = np.hstack([p_powers, -f[:, None] * q_powers[:, 1:]]) * w[:, None]
        norm = np.linalg.norm(system, axis=0)
        c = np.linalg.lstsq(system / norm, f * w, rcond=None)[0] / norm
        p, q = c[: p_degree + 1], np.concatenate([[1.0], c[p_degree + 1 :]])
        previous = q_powers @ q
        error = np.abs(weight * (p_powers @ p / previous - f))
        if previous.min() > 0 and error.max() < best[0]:
            best = (error.max(), p / scale ** np.arange(p.size), q / scale ** np.arange(q.size))
        lawson *= error / error.max() + 1e-6
        lawson /= lawson.sum()
    return best


def reference(function, x):
    return np.array([float(function(mp.mpf(float(v)))) for v in x])


def show(name, error, *coefficients):
    print(f"{name}: max error of the fit {error:.2e}")
    for label, c in zip("PQ", coefficients, strict=False):
        print(f"  {label}: " + ", ".join(f"{np.float32(v):.9g}f" for v in c))


def main():
    half_ln2 = float(mp.log(2) / 2)
    x = chebyshev(-half_ln2, half_ln2, 1000)  # even: no point at 0
    f = reference(lambda v: (mp.exp(v) - 1 - v) / v**2, x)
    show("exp(r) = 1 + r + r^2 P(r), |r| <= ln(2)/2", *polynomial(x, f, x**2, 4))

    x = chebyshev(-0.5, 0.5, 1000)
    f = reference(lambda v: (mp.power(2, v) - 1) / v, x)
    show("2^r = 1 + r P(r), |r| <= 1/2", *polynomial(x, f, np.abs(x), 5))

    x = chebyshev(np.sqrt(0.5) - 1, np.sqrt(2.0) - 1, 1000)
    f = reference(lambda v: (mp.log1p(v) - v + v * v / 2) / v**3, x)
    show("log(1 + f) = f - f^2/2 + f^3 P(f)", *polynomial(x, f, np.abs(x**3 / np.log1p(x)), 8))

    for name, function, limit, p, q in (
        ("erf(x), x <= 4", mp.erf, 4.0, 5, 5),
        ("normal distribution(x) - 1/2, x <= 5.7", lambda v: mp.erf(v / mp.sqrt(2)) / 2, 5.7, 5, 5),
        ("tanh(x), x <= 9.1", mp.tanh, 9.1, 6, 3),
    ):
        x = chebyshev(0.0, limit)
        f = reference(function, x)
        show(name, *odd_rational(x, f, 1 / f, p, q))


if __name__ == "__main__":
    main()
