"""Drawings of nets: every weighted layer is a box, every shortcut an arc, no words on top of others."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from PIL import Image

from residua.nn import zoo
from residua.nn.arch import Arch
from residua.nn.cost import cost
from residua.report.canvas import draw, svg
from residua.report.drawing import drawing
from residua.report.history import WINNERS, history
from residua.report.outline import Fold, Inception, Unit, outline, weighted
from residua.report.scene import Text, overlaps, text_width

DEEP = ("cifar_resnet1202", "cifar_preact1001")
SVG = "{http://www.w3.org/2000/svg}"


def seen(name, **words):
    row = zoo.find(name)
    return outline(row, cost(row), **words)


def scene_of(*names):
    return drawing([seen(name) for name in names])


def counted(outlined):
    return sum(weighted(part) for _, part in outlined.parts)


@pytest.fixture(scope="module")
def every():
    """Every net of the zoo but the two deepest, outlined once."""
    return {name: seen(name) for name in zoo.names() if name not in DEEP}


def test_the_boxes_of_every_net_are_its_published_layers(every):
    for name, outlined in every.items():
        row = zoo.find(name)
        # Zagoruyko 2016 counts the three projections of a wide net, and not its classifier.
        besides = 2 if isinstance(row, Arch) and row.family == "wrn" else 0
        assert counted(outlined) + besides == row.layers, name


@pytest.mark.parametrize(("name", "layers"), [("resnet34", 34), ("plain34", 34), ("vgg19", 19), ("alexnet", 8), ("resnet50", 50)])  # fmt: skip  # noqa: E501
def test_a_short_net_is_drawn_whole_a_box_a_layer(name, layers):
    scene = scene_of(name)
    assert len(scene.boxes("layer")) == layers and not scene.boxes("fold")


def test_inception_modules_have_four_paths_and_googlenet_is_22_layers_deep():
    found = seen("googlenet")
    modules = [p for _, p in found.parts if isinstance(p, Inception)]
    assert len(modules) == 9 and {len(m.paths) for m in modules} == {4}
    assert modules[0].channels == 256 and counted(found) == 22
    assert len(scene_of("googlenet").boxes("layer")) == 58  # Szegedy 2014: 57 convolutions and the classifier


@pytest.mark.parametrize(
    ("name", "dotted", "solid"),
    [("resnet34", 3, 13), ("resnet50", 4, 12), ("resnet18", 3, 5), ("plain34", 0, 0), ("resnext50_32x4d", 4, 12),
     ("preact_resnet34", 3, 13), ("resnet34_A", 3, 13), ("resnet34_C", 3, 13), ("cifar_resnet20", 2, 7),
     ("wrn28_10", 3, 9)],
)  # fmt: skip
def test_shortcuts_are_dotted_where_the_shape_changes_and_solid_elsewhere(name, dotted, solid):
    scene = scene_of(name)
    assert (len(scene.lines("dotted")), len(scene.lines("solid"))) == (dotted, solid)
    assert all(line.dashes for line in scene.lines("dotted")) and not any(s.dashes for s in scene.lines("solid"))
    assert len(scene.boxes("sum")) == dotted + solid


def test_a_shortcut_says_what_it_does_where_it_does_something():
    words = {name: [t.words for t in scene_of(name).texts()] for name in ("resnet18_A", "resnet18_B", "resnet18_C")}
    assert words["resnet18_A"].count("pad") == 3
    at_left = 1  # the size of the head
    assert (words["resnet18_B"].count("1×1"), words["resnet18_C"].count("1×1")) == (3 + at_left, 8 + at_left)


def test_a_fold_says_how_many_units_and_layers_it_stands_for():
    found = seen("resnet152")
    folds = [p for _, p in found.parts if isinstance(p, Fold)]
    assert [f.units for f in folds] == [5, 33] and counted(found) == 152
    words = [t.words for t in scene_of("resnet152").texts()]
    assert "× 33 more units" in words and "99 layers" in words
    assert not any(isinstance(p, Fold) for _, p in seen("resnet152", whole=True).parts)


@pytest.mark.parametrize("name", DEEP)
def test_a_thousand_layers_fit_on_a_page(name):
    scene = scene_of(name)
    assert scene.height < 2000 and counted(seen(name)) == zoo.find(name).layers


def test_pre_activation_units_show_norm_and_relu_before_every_convolution():
    found = seen("preact_resnet18")
    units = [p for _, p in found.parts if isinstance(p, Unit)]
    assert all(layer.norms for u in units for layer in u.layers)
    assert [u.outside for u in units] == [u.changes for u in units]  # there the projection sees the activated x
    assert len(scene_of("preact_resnet18").boxes("norm")) == 2 * 8 + 1  # and one before the last pool
    assert not scene_of("resnet18").boxes("norm")


def test_the_shortcut_of_a_shape_changing_pre_activation_unit_begins_behind_its_norm():
    scene = scene_of("preact_resnet18")
    strips = [b.y + b.height for b in scene.boxes("norm")]
    for line in scene.lines("dotted"):
        above = max(y for y in strips if y <= line.places[0][1])
        assert line.places[0][1] - above < 4


def test_resnext_shows_its_paths():
    scene = scene_of("resnext50_32x4d")
    words = [t.words for t in scene.texts()]
    assert words.count("32 paths of 3×3 conv, 4") == 3 and "32 paths of 3×3 conv, 8, /2" in words
    assert len(scene.boxes("path")) == 3 * 16


def test_parameters_and_multiply_adds_stand_beneath_each_net():
    words = [t.words for t in scene_of("resnet34", "vgg19").texts()]
    for published in ("21,797,672 parameters", "3.664 G multiply-adds", "19.63 G multiply-adds", "34 layers"):
        assert published in words


def test_nets_for_one_picture_stand_at_the_same_height_by_size():
    scene = scene_of("vgg19", "plain34", "resnet34")
    sizes = [t.words for t in scene.texts() if re.fullmatch(r"\d+×\d+", t.words) and t.words != "1×1"]
    assert sizes == ["224×224", "112×112", "56×56", "28×28", "14×14", "7×7"]
    heads = [b.y for b in scene.boxes("layer") if b.says.startswith("3×3 conv, 64, /2") or "128, /2" in b.says]
    assert len(heads) == 2 and heads[0] == heads[1]


def test_nets_for_other_pictures_say_their_own_sizes():
    words = [t.words for t in scene_of("alexnet", "resnet18", "cifar_resnet20").texts()]
    assert {"55×55", "56×56", "32×32", "224×224 picture", "32×32 picture"} <= set(words)


def test_no_words_stand_on_others_in_any_drawing(every):
    for name, outlined in every.items():
        assert overlaps(drawing([outlined]).texts()) == [], name
    together = [every[n] for n in ("alexnet", "vgg19", "googlenet", "resnet152", "resnext50_32x4d", "cifar_preact164")]
    assert overlaps(drawing(together).texts()) == []


def test_everything_stays_on_the_paper_and_words_in_their_boxes(every):
    for name, outlined in every.items():
        scene = drawing([outlined])
        for text in scene.texts():
            left, top, right, bottom = text.bounds
            assert left >= 0 and top >= 0 and right <= scene.width and bottom <= scene.height, (name, text.words)
        for kind in ("layer", "fold", "pool", "norm"):
            for box in scene.boxes(kind):
                inside = [
                    t for t in scene.texts() if box.x < t.x < box.x + box.width and box.y < t.y < box.y + box.height
                ]
                for text in inside:
                    assert text.bounds[0] >= box.x and text.bounds[2] <= box.x + box.width, (name, text.words)


def test_long_names_are_cut_and_markup_is_text():
    row = replace(zoo.find("resnet18"), name="<script>&" + "x" * 200)
    scene = drawing([outline(row, cost(row))])
    root = ElementTree.fromstring(svg(scene))
    assert overlaps(scene.texts()) == [] and scene.width < 600
    assert "<script>&xxx" in (root.findtext(f"{SVG}title") or "")


def test_the_svg_is_valid_stands_alone_and_says_what_it_shows():
    text = svg(scene_of("resnet34"))
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg" and root.findtext(f"{SVG}title") == "resnet34"
    assert "34 weighted layers, with shortcuts, 21,797,672 parameters" in (root.findtext(f"{SVG}desc") or "")
    assert len(root.findall(f"{SVG}rect[@class='layer']")) == 34
    assert len(root.findall(f"{SVG}path[@class='dotted']")) == 3
    assert "href" not in text and "url(" not in text and "@import" not in text


def test_png_and_svg_show_the_same_scene(tmp_path):
    scene = scene_of("cifar_resnet20")
    with Image.open(draw(scene, tmp_path / "a.png")) as image:
        assert image.width / image.height == pytest.approx(scene.width / scene.height, rel=0.01)
    assert draw(scene, tmp_path / "a.svg").read_text(encoding="utf-8") == svg(scene)


def test_a_text_is_as_wide_as_its_letters():
    assert text_width("iiii", 10) < text_width("MMMM", 10) == pytest.approx(text_width("MMMM", 20) / 2)
    a = Text(x=0, y=0, words="abc", size=10, colour="black", anchor="start")
    assert overlaps([a, replace(a, x=a.bounds[2] + 1)]) == [] and len(overlaps([a, replace(a, x=3)])) == 1


# -- history --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def story():
    return history({w.row: seen(w.row, whole=True) for w in WINNERS if w.row})


def test_the_history_has_every_layer_to_one_scale(story):
    for winner in WINNERS:
        if winner.row:
            assert counted(seen(winner.row, whole=True)) == winner.layers
    assert len(story.boxes("layer")) == 8 + 19 + 58 + 152 and len(story.boxes("unknown")) == 8
    assert {round(b.height, 3) for b in story.boxes("layer")} == {story.boxes("layer")[0].height}
    assert len(story.lines("dotted")) + len(story.lines("solid")) == 50


def test_the_history_says_year_depth_and_error_with_their_source(story):
    words = [t.words for t in story.texts()]
    for published in ("16.4 %", "11.7 %", "7.3 %", "6.7 %", "3.57 %", "8 layers", "22 layers", "152 layers"):
        assert published in words
    assert any("arXiv:1409.0575" in w and "arXiv:1512.03385" in w for w in words)
    assert overlaps(story.texts()) == []
    assert [w.year for w in WINNERS] == sorted(w.year for w in WINNERS)
