"""How detectors are trained. No torch."""

from collections.abc import Mapping

from residua.training.recipe import Recipe

#: How detectors are trained: from random weights with what a CPU can do, from trained ones, and as the papers did.
RECIPES: Mapping[str, Recipe] = {
    r.name: r
    for r in (
        Recipe(
            name="quick",
            source="one-cycle SGD after Smith & Topin 2017, arXiv:1708.07120; values tried on bccd (docs/log.md)",
            epochs=30, batch_size=4, lr=0.02, nesterov=True, weight_decay=1e-4, schedule="one-cycle", peak_at=0.2,
            start_factor=0.05, clip_norm=10.0, augment=(),
        ),
        Recipe(
            name="finetune",
            source="one-cycle SGD with slower early stages, after Howard & Gugger 2020, arXiv:2002.04688",
            epochs=20, batch_size=4, lr=0.01, nesterov=True, weight_decay=1e-4, schedule="one-cycle", peak_at=0.2,
            start_factor=0.05, clip_norm=10.0, lr_decay=0.7, augment=(),
        ),
        Recipe(
            name="lin2017",
            source="Lin et al. 2017, arXiv:1612.03144, sec. 5, as torchvision trains it: 26 epochs of COCO",
            epochs=26, batch_size=16, lr=0.02, weight_decay=1e-4, decay_norms=True, schedule="step",
            drops=(16 / 26, 22 / 26), warmup_steps=1000, warmup_lr=2e-5, augment=(),
        ),
    )
}  # fmt: skip
