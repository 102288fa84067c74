import pytest

pytest.register_assert_rewrite("machine.runs")  # imported by tests: a failure says what differs
