"""`residua predict`: all good pictures are answered, bad ones named, in the form that is asked for."""

import csv
import io
import json
import sys

import pytest


def fields(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def test_elsewhere_than_on_a_terminal_a_line_is_path_class_probability(residua, trained, photos):
    ran = residua("predict", trained, photos / "dark" / "1.png", photos / "bright" / "0.png", "--top", "2")
    rows = fields(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert [r[0] for r in rows] == [str(photos / "dark" / "1.png"), str(photos / "bright" / "0.png")]
    assert [len(r) for r in rows] == [5, 5]
    assert all(1 >= float(r[2]) >= float(r[4]) >= 0 and r[1] in "0123456789" for r in rows)


def test_bad_files_are_named_and_the_others_answered(residua, trained, photos):
    ran = residua("predict", trained, photos / "dark", photos / "none.png")
    assert ran.code == 3 and len(fields(ran.out)) == 10
    named = ran.err.splitlines()
    assert len(named) == 3
    assert "cannot read" in named[0] and "notes.jpg" in named[0] and "none.png" in named[1]
    assert named[2] == "residua: error: 2 of 12 pictures could not be read (named above)"


def test_json_holds_answers_and_failures(residua, trained, photos):
    ran = residua("predict", trained, photos / "dark", "--json", "--top", "3")
    assert ran.code == 3 and ran.json.keys() == {"predictions", "failures", "out"}
    assert len(ran.json["predictions"]) == 10 and len(ran.json["failures"]) == 1
    assert ran.json["predictions"][0].keys() == {"path", "classes", "probabilities"}
    assert len(ran.json["predictions"][0]["classes"]) == 3


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_out_writes_every_answer_also_beside_bad_files(residua, trained, photos, tmp_path, ending):
    out = tmp_path / f"answers{ending}"
    ran = residua("predict", trained, photos / "dark", "--out", out)
    assert ran.code == 3 and ran.out == f"wrote {out}\n"
    if ending == ".csv":
        rows = list(csv.DictReader(io.StringIO(out.read_text())))
    elif ending == ".json":
        rows = json.loads(out.read_text())
    else:
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(out).to_pylist()
    assert len(rows) == 11 and sum(bool(r.get("problem")) for r in rows) == 1


def test_another_ending_is_refused_before_anything_is_read(residua, trained, tmp_path):
    ran = residua("predict", trained, tmp_path, "--out", tmp_path / "answers.xls")
    assert ran.code == 2 and "answers are written to .csv, .json, .parquet" in ran.line


def test_paths_come_from_stdin_one_a_line(residua, trained, photos, monkeypatch):
    names = f"{photos / 'dark' / '0.png'}\r\n\n{photos / 'dark' / '1.png'}\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(names.encode())))
    ran = residua("predict", trained, "-")
    assert ran.code == 0 and [r[0][-5:] for r in fields(ran.out)] == ["0.png", "1.png"]


def test_no_paths_on_stdin_are_a_mistake(residua, trained, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    ran = residua("predict", trained, "-")
    assert ran.code == 2 and "no paths" in ran.line


def test_a_name_with_a_tab_and_a_line_break_stays_one_row(residua, trained, photos):
    odd = photos / "dark" / "a\tb\n.png"
    (photos / "dark" / "1.png").rename(odd)
    rows = fields(residua("predict", trained, odd).out)
    assert len(rows) == 1 and rows[0][0] == str(photos / "dark") + r"/a\tb\n.png"


def test_answers_go_on_where_they_were_interrupted(residua, trained, photos, tmp_path, monkeypatch):
    """Killed after any batch, and gone on with: the very bytes of one go, without a gap or a picture asked twice."""
    from residua.predict.model import Model

    whole, out = tmp_path / "whole.csv", tmp_path / "answers.csv"
    words = ("predict", trained, photos, "--batch-size", "2", "--top", "2")
    code = residua(*words, "--out", whole).code
    answer, asked = Model._answers, []

    def dying(model, batch, top):
        asked.extend(item.name for item, _ in batch)
        if len(asked) == 6:
            raise KeyboardInterrupt
        return answer(model, batch, top)

    monkeypatch.setattr(Model, "_answers", dying)
    ran = residua(*words, "--out", out)
    assert ran.code == 130 and "4 answers are kept" in ran.line and "--resume goes on" in ran.line and not out.exists()
    part = tmp_path / "answers.csv.part"
    part.write_bytes(part.read_bytes() + b'{"path": "cut of')  # as a kill would leave it
    first = asked[:4]
    del asked[:]
    monkeypatch.setattr(Model, "_answers", lambda m, b, t: asked.extend(i.name for i, _ in b) or answer(m, b, t))
    assert residua(*words, "--out", out).line.endswith("delete it to begin anew")
    ran = residua(*words, "--out", out, "--resume")
    assert ran.code == code and out.read_bytes() == whole.read_bytes() and not part.exists()
    assert not set(first) & set(asked)


def test_answers_of_another_model_or_of_other_pictures_are_not_gone_on_with(residua, trained, photos, tmp_path):
    from residua.predict import Journal, asked

    out = tmp_path / "answers.csv"
    about = asked([trained / "model.safetensors"], 5)
    for changed, line in (({"top": 3}, "another top"), ({"model": ["0"]}, "another model")):
        Journal(out, about | changed, batch_size=64, resume=False)
        ran = residua("predict", trained, photos, "--out", out, "--resume")
        assert ran.code == 3 and line in ran.line
        (tmp_path / "answers.csv.part").unlink()
    assert residua("predict", trained, photos, "--resume").code == 2
