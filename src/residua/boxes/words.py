"""What a user may write for augmentations that keep boxes, checked before anything heavy is imported. No torch."""

from collections.abc import Iterable, Mapping

from residua.data.names import Number, Words, named

AUGMENTATIONS: Mapping[str, tuple[Number, ...]] = {
    "scale": (Number("smallest scale", 0.8, 0.1, 1), Number("largest scale", 1.25, 1, 4)),
    "flip": (),
    "vertical-flip": (),
    "color": (Number("strength", 0.2, 0, 1),),
}


def check_words(words: Iterable[str]) -> Words:
    """The augmentations that words such as ``scale:0.8:1.25`` ask for. Raises UsageError."""
    return named(words, AUGMENTATIONS)
