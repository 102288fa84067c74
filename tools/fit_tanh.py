"""Fit the tanh of edgedst/csrc/kernels/elementwise.h: x P(x^2) / Q(x^2) with the least relative error on [0, 8].

    python tools/fit_tanh.py        prints the coefficients of P and Q, lowest power first, and the error

Lawson's iteration: least squares whose weights grow where the error is large, until it is even everywhere. The
denominator of the last round makes the problem linear. Float32 rounding of x P / Q adds about 3e-7 to the error.
"""

import numpy as np

DEGREE, LIMIT, NODES, ROUNDS = 4, 8.0, 3000, 60


def fit() -> tuple[np.ndarray, np.ndarray, float]:
    """P, Q with Q[0] = 1, and the largest relative error at the nodes."""
    s = (np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES) + 1) / 2  # x^2 / LIMIT^2 at Chebyshev's nodes
    x = LIMIT * np.sqrt(s)
    ratio = np.tanh(x) / x
    powers = np.vander(s, DEGREE + 1, increasing=True)
    weight, q_at = np.ones(NODES), np.ones(NODES)
    for _ in range(ROUNDS):
        scale = np.sqrt(weight) / (ratio * q_at)
        matrix = np.hstack([powers, -ratio[:, None] * powers[:, 1:]])
        solution = np.linalg.lstsq(matrix * scale[:, None], ratio * scale, rcond=None)[0]
        p, q = solution[: DEGREE + 1], np.concatenate([[1.0], solution[DEGREE + 1 :]])
        q_at = powers @ q
        error = np.abs(powers @ p / q_at / ratio - 1)
        weight *= error
        weight /= weight.mean()
    unscale = LIMIT ** (-2.0 * np.arange(DEGREE + 1))
    return p * unscale, q * unscale, float(error.max())


if __name__ == "__main__":
    for values in fit():
        print(values)
