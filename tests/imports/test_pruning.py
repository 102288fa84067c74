"""Which weights stay: the largest of each layer."""

import numpy as np
import pytest

from edgedst.imports.model import Dense
from edgedst.imports.pruning import at, largest, pruned

WEIGHT = np.array([[0.1, -9, 0, 4], [2, -2, 2, 0]], np.float32)
#                   0    1  2  3    4   5  6  7


@pytest.mark.parametrize(
    ("nnz", "kept"),
    [
        (1, [1]),
        (2, [1, 3]),
        (4, [1, 3, 4, 5]),  # of three equal ones the first two
        (7, [0, 1, 2, 3, 4, 5, 6]),  # a weight of 0 is stored where there are no others
        (8, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_the_largest_magnitudes_stay_and_of_equal_ones_the_first(nnz, kept):
    positions = largest(WEIGHT, nnz)
    assert positions.dtype == np.uint32
    assert positions.tolist() == kept


def test_a_pruned_layer_has_the_weights_at_its_positions_and_all_biases():
    (layer,) = pruned([Dense(WEIGHT, np.array([1, 2], np.float32))], [3])
    assert (layer.in_features, layer.out_features) == (4, 2)
    assert layer.values.tolist() == [-9, 4, 2]
    assert layer.bias.tolist() == [1, 2]
    (target,) = at([Dense(2 * WEIGHT, np.zeros(2, np.float32))], [layer.indices])
    assert target.values.tolist() == [-18, 8, 4]
