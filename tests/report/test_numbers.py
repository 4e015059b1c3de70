"""Laws of the words and axes: what is unknown is a dash, what is drawn lies on the axis."""

import math
from pathlib import Path

import pytest

from residua.errors import DataError
from residua.files import replacing
from residua.report import say
from residua.report.files import read
from residua.report.labels import beside
from residua.report.series import POINTS, Axis, curves_of, epoch_axis, value_axis


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.0111, "1.11 %"),
        (0.25, "25.0 %"),
        (0.99999, "100.0 %"),
        (None, "–"),
        (math.nan, "–"),
        (True, "–"),
    ],
)
def test_a_fraction_is_read_as_percent(value: object, text: str) -> None:
    assert say.percent(value) == text.replace(" ", say.JOIN)


def test_numbers_are_written_as_people_read_them() -> None:
    join = say.JOIN
    assert (say.count(1797), say.short(41_600_000), say.short(950)) == ("1,797", f"41.6{join}M", "950")
    assert (say.figures(0.1), say.figures(5e-4), say.figures(123456.7), say.rate(0.9)) == (
        "0.1", "0.0005", "123,457", f"90.0{join}%",
    )  # fmt: skip
    assert [say.duration(s).replace(join, " ") for s in (3.21, 59.4, 95.2, 3599.9, 7500)] == [
        "3.2 s", "59 s", "1 min 35 s", "1 h 00 min", "2 h 05 min",
    ]  # fmt: skip
    assert (say.plural(1, "class", "classes"), say.plural(3, "image")) == ("1 class", "3 images")
    assert say.label("a\nb\x1b[31m ☃\udcff") == "a\\nb\\x1b[31m ☃\\udcff"


@pytest.mark.parametrize(
    "values", [[0.9, 0.02, 0.005], [0.5, 0.0, 0.01], [0.3, 0.2], [0.0], [1e-7, 1.0], [3.0, 2.5, -0.1], []]
)
@pytest.mark.parametrize("as_percent", [False, True])
def test_every_value_and_tick_stands_on_its_axis_in_order(values: list[float], as_percent: bool) -> None:
    axis = value_axis(values, as_percent=as_percent)
    places = [axis.place(v) for v in sorted(values)]
    assert places == sorted(places) and all(0 <= p <= 1 for p in places)
    ticks = [axis.place(t) for t, _ in axis.ticks]
    assert len(ticks) >= 2 and ticks == sorted(set(ticks)) and ticks[0] >= -1e-9 and ticks[-1] <= 1 + 1e-9
    assert all(text.endswith(" %") == as_percent for _, text in axis.ticks)


def test_the_axis_is_logarithmic_where_values_span_a_factor_of_eight() -> None:
    assert not value_axis([0.1, 0.8]).log and value_axis([0.1, 0.81]).log
    assert value_axis([0.9, 0.01, 0.0]).ticks[0] == (0.005, "0")
    assert value_axis([0.9, 0.01, 0.0]).place(0.0) == 0


def test_the_axis_of_epochs_ends_with_the_last() -> None:
    assert epoch_axis(15) == Axis(0, 15, False, tuple((v, f"{v}") for v in range(0, 15, 2)))
    assert epoch_axis(0).place(0) == 0


def test_what_is_not_finite_is_left_out_and_later_rows_win(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run(epochs=2)
    with (run / "metrics.jsonl").open("a") as f:
        f.write('{"event": "epoch", "epoch": 2, "val_error": 0.25, "train_loss": null}\n')
        f.write('{"event": "epoch", "epoch": 3, "val_error": NaN, "train_loss": Infinity}\n{"event": "ep')
    found = read(run)
    curves = curves_of(found)
    assert (curves.val_error.x, curves.val_error.y) == ((1, 2), (0.5, 0.25))
    assert curves.train_loss.x == (1, 2) and found.damaged == ("metrics.jsonl",)


def test_before_two_epochs_training_is_drawn_by_steps(make_run) -> None:  # type: ignore[no-untyped-def]
    assert curves_of(read(make_run(epochs=1))).train_error.x == (0.25, 0.5, 0.75, 1)


def test_a_long_run_is_drawn_by_means_and_keeps_its_ends(make_run) -> None:  # type: ignore[no-untyped-def]
    lr = curves_of(read(make_run(epochs=400))).lr
    assert len(lr.x) == POINTS and (lr.x[0], lr.x[-1]) == (0.25, 400)
    assert list(lr.y) == sorted(lr.y, reverse=True)


def test_a_label_keeps_off_the_line() -> None:
    falling = [(0.0, 0.0), (100.0, 100.0)]
    assert beside((50, 50), "kept", [falling], (-100, -100, 200, 200)) in ((10, -10), (-10, 20))
    assert beside((0, 0), "kept", [], (0, 0, 200, 200)) == (10, 20)


def test_the_weights_that_were_kept_are_the_ones_that_are_marked(make_run) -> None:  # type: ignore[no-untyped-def]
    curves = curves_of(read(make_run()))
    assert (curves.best, curves.word) == ((2, 0.12), "kept")
    unfinished = curves_of(read(make_run(name="b", without=("summary.json", "evaluation.json"))))
    assert (unfinished.best, unfinished.word) == ((5, 0.02), "best so far")


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a run folder"):
        read(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "gone")


def test_a_file_takes_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "x"
    out.write_text("before")
    with pytest.raises(ZeroDivisionError), replacing(out) as temporary:
        temporary.write_text("half")
        _ = 1 / 0
    assert out.read_text() == "before" and list(tmp_path.iterdir()) == [out]
    with pytest.raises(DataError, match="cannot write"), replacing(tmp_path / "no" / "x") as temporary:
        temporary.write_text("x")
