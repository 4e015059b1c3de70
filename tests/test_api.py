"""The Python words: the same as the verbs."""

import subprocess
import sys

import pytest

import residua
from residua import UsageError


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("api") / "run"
    return residua.train("digits", arch="cifar_resnet8", epochs=1, limit=64, out=str(out), sets=["label_smoothing=0"])


def test_train_returns_the_run_its_test_and_the_seconds(result):
    assert isinstance(result, residua.TrainResult)
    assert result.test.n == 64 and result.seconds > 0
    assert result.model.is_file() and (result.run / "report.html").is_file()


def test_a_run_folder_and_its_model_file_load_as_the_same_model(result):
    by_folder, by_file = residua.load(result.run), residua.load(str(result.model))
    assert isinstance(by_folder, residua.Model)
    assert by_folder.classes == by_file.classes == tuple("0123456789")


def test_load_predict_takes_arrays(result):
    import numpy as np

    predictions = residua.load(result.run).predict([np.zeros((5, 7), dtype=np.uint8)], top=2)
    assert len(predictions) == 1 and isinstance(predictions[0], residua.Prediction)
    assert len(predictions[0].classes) == 2


def test_build_makes_a_net_by_name():
    assert sum(p.numel() for p in residua.build("cifar_resnet20").parameters()) == 269_722


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"epoch": 3}, "unknown option 'epoch': did you mean epochs"),
        ({"learning_rate": 3}, "unknown option 'learning_rate'"),
        ({"lr": -1}, "lr must be positive"),
        ({"arch": "resnet51"}, "did you mean resnet50"),
        ({"recipe": "quik"}, "did you mean quick"),
        ({"sets": ["lrr=3"]}, "did you mean lr"),
    ],
)  # fmt: skip
def test_a_wrong_word_names_the_nearest(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said):
        residua.train("digits", **words)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_not_gone_on_with(result):
    with pytest.raises(UsageError, match="finished"):
        residua.train(resume=str(result.run))


def test_a_wrong_recipe_word_fails_before_torch_is_imported():
    code = (
        "import residua, sys\n"
        "try: residua.train('digits', recipe='quik')\n"
        "except residua.UsageError: sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_explanations_say_what_predict_says_and_where_the_net_looked(result, tmp_path):
    import numpy as np

    from residua.explain import Unread

    model = residua.load(result.run)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 7), dtype=np.uint8)
    (tmp_path / "bad.png").write_text("no picture")
    first, bad, second = residua.explanations(model, [pixels[0], tmp_path / "bad.png", pixels[1]])
    assert isinstance(bad, Unread) and bad.name.endswith("bad.png") and "not an image" in bad.reason
    for found, said in zip((first, second), model.predict(list(pixels)), strict=True):
        assert found.label == said.label and found.probabilities == pytest.approx(said.probabilities, abs=1e-5)
        assert found.overlay().size == (7, 9)
        whole = found.logit - found.depth.bare_logit
        assert sum(u.contribution for u in found.depth.units) == pytest.approx(whole, abs=0.02 * max(1, abs(whole)))
    (asked,) = residua.explanations(model, pixels[0], target="7", method="layer-cam", stage=0)
    assert asked.target == "7"
    for words, said in (
        ({"method": "cam"}, "unknown method"),
        ({"target": "10"}, "unknown class"),
        ({"stage": 9}, "9"),
    ):
        with pytest.raises(UsageError, match=said):
            residua.explanations(model, pixels[0], **words)
