"""Published test errors of nets that a study may train, each with its source. Fractions."""

from collections.abc import Mapping

HE2015 = "He et al. 2015, arXiv:1512.03385, table 6"
TABLE_2 = "He et al. 2015, arXiv:1512.03385, table 2 (10-crop, validation)"
HE2016 = "He et al. 2016, arXiv:1603.05027"
XIE2017 = "Xie et al. 2017, arXiv:1611.05431"
ZAGORUYKO2016 = "Zagoruyko & Komodakis 2016, arXiv:1605.07146"

#: (data, net) -> test error and source.
PUBLISHED: Mapping[tuple[str, str], tuple[float, str]] = {
    ("cifar10", "cifar_resnet20"): (0.0875, HE2015),
    ("cifar10", "cifar_resnet32"): (0.0751, HE2015),
    ("cifar10", "cifar_resnet44"): (0.0717, HE2015),
    ("cifar10", "cifar_resnet56"): (0.0697, HE2015),
    ("cifar10", "cifar_resnet110"): (0.0661, f"{HE2015} (mean of 5 runs, ± 0.16 points)"),
    ("cifar10", "cifar_resnet1202"): (0.0793, HE2015),
    ("cifar10", "cifar_preact110"): (0.0637, HE2016),
    ("cifar10", "cifar_preact164"): (0.0546, HE2016),
    ("cifar10", "cifar_preact1001"): (0.0492, HE2016),
    ("cifar100", "cifar_preact164"): (0.2433, HE2016),
    ("cifar100", "cifar_preact1001"): (0.2271, HE2016),
    ("cifar10", "resnext29_16x64d"): (0.0358, XIE2017),
    ("cifar100", "resnext29_16x64d"): (0.1731, XIE2017),
    ("cifar10", "wrn28_10"): (0.0400, ZAGORUYKO2016),
    ("cifar100", "wrn28_10"): (0.1925, ZAGORUYKO2016),
    ("imagenet", "plain18"): (0.2794, TABLE_2),
    ("imagenet", "plain34"): (0.2854, TABLE_2),
    ("imagenet", "resnet18"): (0.2788, TABLE_2),
    ("imagenet", "resnet34"): (0.2503, TABLE_2),
}


def published(data: str, net: str) -> tuple[float, str] | None:
    """The published test error of a net on a data set (a known set's name, or a path that ends in it), and its source.

    An explicit option-A shortcut is the CIFAR nets' own.
    """
    name = data.rstrip("/").rsplit("/", 1)[-1].lower()
    return PUBLISHED.get((name, net.removesuffix("_A") if net.startswith("cifar_resnet") else net))
