"""Long work says where it is: a line a minute where the output is no terminal."""

from __future__ import annotations

from medprobe.base import progress


def test_a_log_gets_one_line_a_minute_with_speed_and_time_left(monkeypatch, capsys) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with progress("Embedding brain", 6000, unit="images") as bar:
        for _ in range(30):
            now += 10
            bar.advance(100)
    first, *_, last = lines = capsys.readouterr().err.splitlines()
    assert first == "Embedding brain: 600 of 6,000 images, 10.0/s, 9 min left"
    assert last == "Embedding brain: 3,000 of 6,000 images, 10.0/s, 5 min left"
    assert len(lines) == 5


def test_what_the_work_says_of_its_speed_takes_the_place_of_the_mean(monkeypatch, capsys) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with progress("Embedding brain", 200, unit="images") as bar:
        now = 61.0
        bar.advance(100, note="12.1/s now, 7.0/s in all")
    assert capsys.readouterr().err == ("Embedding brain: 100 of 200 images, 12.1/s now, 7.0/s in all, 61 s left\n")


def test_nothing_is_said_where_nobody_asked(capsys) -> None:
    with progress("Embedding brain", 2, enabled=False) as bar:
        bar.advance(2)
    assert capsys.readouterr().err == ""
