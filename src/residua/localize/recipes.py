"""How localizers are trained. No torch."""

from collections.abc import Mapping

from residua.training.recipe import Recipe

#: From random weights with what a CPU can do, from a classifier's, and a second look at what a localizer found.
RECIPES: Mapping[str, Recipe] = {
    r.name: r
    for r in (
        Recipe(
            name="quick",
            source="one-cycle SGD after Smith & Topin 2017, arXiv:1708.07120; values of classification's quick",
            epochs=30, batch_size=64, min_epoch_steps=8, lr_with_batch="sqrt", lr=0.1, nesterov=True,
            weight_decay=8e-4, schedule="one-cycle", peak_at=0.15, start_factor=0.1, label_smoothing=0.05, augment=(),
        ),
        Recipe(
            name="finetune",
            source="one-cycle SGD with slower early stages, after Howard & Gugger 2020, arXiv:2002.04688",
            epochs=15, batch_size=32, min_epoch_steps=8, lr_with_batch="sqrt", lr=0.02, nesterov=True,
            weight_decay=1e-4, schedule="one-cycle", peak_at=0.2, start_factor=0.1, lr_decay=0.7,
            label_smoothing=0.05, augment=(),
        ),
        Recipe(
            name="refine",
            source="R-CNN centred on regions, He et al. 2015, appendix C; one-cycle SGD",
            epochs=15, batch_size=64, min_epoch_steps=8, lr_with_batch="sqrt", lr=0.05, nesterov=True,
            weight_decay=8e-4, schedule="one-cycle", peak_at=0.15, start_factor=0.1, augment=(),
        ),
    )
}  # fmt: skip
