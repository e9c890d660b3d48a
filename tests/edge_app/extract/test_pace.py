"""Pages a minute and the time left."""

from __future__ import annotations

from edge_app.extract.pace import Pace, duration


def test_the_time_left_follows_from_the_pages_that_have_to_be_answered() -> None:
    now = 0.0
    pace = Pace(400, lambda: now)
    pace.expect(100)
    assert pace.line() == "0 of 400 pages"
    for _ in range(300):
        pace.add(answered=False, doubtful=False, failed=False)
    for _ in range(10):
        now += 2.0
        pace.add(answered=True, doubtful=False, failed=False)
    assert (pace.per_minute, pace.seconds_left) == (30.0, 180.0)
    pace.add(answered=True, doubtful=True, failed=False)
    assert pace.line() == "311 of 400 pages · 33.0 a minute · 3 min left · 1 doubtful"
    assert pace.earlier == 300


def test_durations_are_short() -> None:
    assert [duration(s) for s in (4.4, 89, 600, 7500)] == ["4 s", "89 s", "10 min", "2 h 05 min"]
