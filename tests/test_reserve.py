"""What learning leaves to the board, on a thermal tree in a temporary root and a meter that is told what to say."""

from time import monotonic
from types import SimpleNamespace

import pytest

from edgedst.reserve import DOWN, LEAST_SHARE, LOOK_SECONDS, Reserve


class Metered:
    def __init__(self):
        self.now = 0.0

    def watts(self, seconds):
        return self.now


def limits(temperature=None, watts=None, cpu=None):
    return SimpleNamespace(max_temperature=temperature, max_watts=watts, max_cpu=cpu)


@pytest.fixture
def zones(tmp_path):
    """Sets the zones' temperatures, in degrees Celsius."""

    def heat(*degrees):
        for number, value in enumerate(degrees):
            folder = tmp_path / f"thermal_zone{number}"
            folder.mkdir(exist_ok=True)
            (folder / "temp").write_text(f"{round(1000 * value)}\n", encoding="ascii")

    heat(40, 50)
    (tmp_path / "cooling_device0").mkdir()
    heat.root = str(tmp_path)
    return heat


def test_the_hottest_zone_counts(zones):
    assert Reserve(limits(temperature=70), None, zones.root).temperature() == 50


def test_learning_slows_down_above_the_limit_and_takes_its_share_back_below_it(zones):
    reserve = Reserve(limits(temperature=70), None, zones.root)
    now = 100.0
    reserve.look(now)
    assert reserve.share == 1
    zones(40, 71)
    shares = []
    for _ in range(3):
        now += LOOK_SECONDS
        reserve.look(now)
        shares.append(reserve.share)
    assert shares == pytest.approx([DOWN, DOWN**2, DOWN**3])
    assert reserve.word() == "Learning takes 51 % of its time: 71 degrees of 70. Acting keeps its rate."
    assert reserve.word() == ""
    zones(40, 69)  # not cool enough to grow again
    reserve.look(now + LOOK_SECONDS)
    assert reserve.share == shares[-1]
    zones(40, 60)
    for _ in range(20):
        now += LOOK_SECONDS
        reserve.look(now + LOOK_SECONDS)
    assert reserve.share == 1
    assert reserve.word() == "Learning has its full share again."


def test_it_never_stops_altogether_and_looks_only_now_and_then(zones):
    reserve = Reserve(limits(temperature=45), None, zones.root)
    for look in range(1000):
        reserve.look(100 + look * LOOK_SECONDS)
    assert reserve.share == LEAST_SHARE
    reserve = Reserve(limits(temperature=45), None, zones.root)
    for look in range(100):
        reserve.look(100 + look / 1000)
    assert reserve.share == DOWN


def test_power_counts_like_heat():
    meter = Metered()
    reserve = Reserve(limits(watts=5, cpu=50), meter)
    meter.now = 6.0
    reserve.look(100)
    assert reserve.share == 0.5 * DOWN
    meter.now = 4.9  # below, and not by much
    reserve.look(200)
    assert reserve.share == 0.5 * DOWN
    meter.now = 3.0
    for look in range(20):
        reserve.look(300 + look * LOOK_SECONDS)
    assert reserve.share == 0.5  # its share of a core stays the most


def test_rest_takes_as_long_as_the_share_says():
    reserve = Reserve(limits(cpu=25), None)
    began = monotonic()
    reserve.rest(began - 0.02)
    assert monotonic() - began >= 0.06
    began = monotonic()
    Reserve(limits(), None).rest(began - 10.0)
    assert monotonic() - began < 5.0


def test_what_cannot_be_read_is_told(tmp_path):
    assert "No thermal zone of this board can be read" in Reserve(limits(temperature=70), None, str(tmp_path)).missing()
    assert "not metered here" in Reserve(limits(watts=5), None).missing()
    assert Reserve(limits(cpu=50), None).missing() == ""
