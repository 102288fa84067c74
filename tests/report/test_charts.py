"""A plot is as its values are: by the numbers in its SVG, read back."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from edgedst.report.charts import ticks
from edgedst.study.figures import Curve, draw_curves, draw_intervals
from edgedst.study.paper import Value

SVG = "{http://www.w3.org/2000/svg}"


def shapes(picture, kind):
    """(CSS classes, points) of the lines or areas of a picture's plots."""
    return [
        (
            set(shape.get("class").split()),
            [tuple(map(float, point.split(","))) for point in shape.get("points").split()],
        )
        for shape in ElementTree.fromstring(picture).iter(f"{SVG}{kind}")
    ]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1_000_000, [0, 500_000, 1_000_000]),
        (0, 95, [0, 50]),
        (-3.1, 4.9, [-2, 0, 2, 4]),
        (0, 0, [0]),
        (5e-320, 6e-320, []),
    ],
)
def test_ticks_are_round_numbers_within_both_ends(low, high, expected):
    assert ticks(low, high) == expected


def test_the_line_is_the_mean_of_the_seeds_and_the_band_a_standard_deviation():
    seeds = [[(0, 0.0), (100, 10.0)], [(0, 0.0), (100, 14.0)]]
    picture = draw_curves([("Task", [Curve("td3", 0, seeds, planned=2)])])
    ((_, line),) = shapes(picture, "polyline")
    ((_, band),) = shapes(picture, "polygon")
    (left, zero), (right, mean) = line
    assert left < right
    above, below = band[1], band[2]
    scale = (zero - mean) / 12.0  # pixels of a unit of return
    assert (mean - above[1]) / scale == pytest.approx(8**0.5, abs=0.01)
    assert (below[1] - mean) / scale == pytest.approx(8**0.5, abs=0.01)


def test_a_line_is_thin_where_not_all_seeds_have_come_so_far():
    seeds = [[(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)], [(0, 0.0), (1, 1.0)]]
    drawn = shapes(draw_curves([("Task", [Curve("td3", 0, seeds, planned=2)])]), "polyline")
    assert [("thin" in classes, len(line)) for classes, line in drawn] == [(False, 2), (True, 3)]
    assert drawn[0][1][-1] == drawn[1][1][0]  # without a gap


def test_a_single_evaluation_is_a_dot():
    ((classes, _),) = shapes(draw_curves([("Task", [Curve("td3", 0, [[(0, 5.0)]], planned=1)])]), "polyline")
    assert "dot" in classes


@pytest.mark.parametrize("returns", [(0.0, 0.0), (1e100, -1e100), (5e99, 5e99), (1e-300, 2e-300), (-1e-9, 1e9)])
@pytest.mark.parametrize("last", [1, 2**63 - 1])
def test_any_numbers_that_a_file_may_hold_can_be_drawn(returns, last):
    curve = Curve("td3", 7, [list(zip((-3.5, last), returns, strict=True))], 1, Value(*returns))
    picture = draw_curves([("Task", [curve])], 1_000_000)
    assert not re.search(rb"nan|inf[^o]", picture)
    for _, points in shapes(picture, "polyline") + shapes(picture, "polygon"):
        assert all(-1 <= x <= 1001 and -1 <= y <= 241 for x, y in points)


def test_every_interval_lies_around_its_value_and_1_is_in_view():
    rows = [("ds-td3", 0, 0.8, (0.6, 0.9)), ("td3", 1, 0.7, None)]
    picture = draw_intervals([("R", rows)], "score")
    ((_, bar),) = shapes(picture, "polygon")
    reference, value, _ = [line[0][0] for _, line in shapes(picture, "polyline")]
    assert bar[0][0] < value < bar[1][0] < reference < 1000


def test_curves_of_many_variants_differ_in_colour_or_dashes():
    curves = [Curve(f"variant {n}", n, [[(0, 0.0), (1, 1.0)]], 1) for n in range(30)]
    drawn = shapes(draw_curves([("Task", curves)]), "polyline")
    assert len({frozenset(classes) for classes, _ in drawn}) == 30
