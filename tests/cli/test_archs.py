"""`residua archs` and `residua describe`."""

import pytest


def test_the_list_holds_every_name_with_the_keys_that_scripts_rely_on(residua):
    from residua.nn.zoo import names

    rows = {r["name"]: r for r in residua("archs", "--json").json}
    assert list(rows) == names()
    assert all(r.keys() >= {"name", "layers", "params", "macs", "family"} for r in rows.values())
    # He 2015, table 6, and torchvision's own counts
    assert rows["cifar_resnet56"]["params"] == rows["cifar_plain56"]["params"] == 853_018
    assert (rows["resnet50"]["layers"], rows["resnet50"]["params"]) == (50, 25_557_032)


def test_a_family_is_listed_alone(residua):
    ran = residua("archs", "--family", "wide")
    assert "wide_resnet50_2" in ran.out and "68,883,240" in ran.out and "resnet18" not in ran.out


def test_a_net_is_described_layer_by_layer(residua):
    ran = residua("describe", "cifar_resnet20", "--json")
    assert ran.json["params"] == 269_722 == sum(layer["params"] for layer in ran.json["table"])
    assert ran.json["macs"] == sum(layer["macs"] for layer in ran.json["table"])
    page = residua("describe", "cifar_resnet20").out
    assert "stages.2.2.branch.conv2" in page and "269,722 parameters" in page and "64x8x8" in page


@pytest.mark.parametrize(("words", "shape"), [("--classes 7", [7]), ("--image-size 64 --channels 1", [10])])
def test_classes_channels_and_size_can_be_chosen(residua, words, shape):
    found = residua("describe", "cifar_resnet20", *words.split(), "--json").json
    assert found["table"][-1]["out_shape"] == shape


def test_a_model_file_is_described_as_it_is(residua, trained):
    found = residua("describe", trained / "model.safetensors", "--json").json
    assert (found["name"], found["side_px"], found["channels"], found["classes"]) == ("cifar_resnet8", 8, 1, 10)
