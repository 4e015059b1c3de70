"""Which runtime is done first: an estimate from a measurement of the net here, before anything is prepared."""

from collections.abc import Sequence
from dataclasses import dataclass

from residua.engine import Decision

#: With fewer pictures nothing is measured: the net as it is answers before anything else is prepared.
MANY = 64
#: Another runtime has to end the whole in less than this share of the time: estimates are rough.
WORTH = 0.8
#: What the flag is called.
FLAG = "--runtime"


@dataclass(frozen=True)
class Candidate:
    """A runtime that could be taken: how many seconds pass until it answers, and how many times as fast it is then.

    `known`: both were measured here, when its graph was made, and are not only usual.
    """

    name: str
    seconds: float
    times: float
    known: bool = False

    def total(self, pictures: int, each: float) -> float:
        """Seconds for so many pictures, of which the net as it is takes `each`."""
        return self.seconds + pictures * each / self.times


def usual(name: str, layers: int, each: float) -> Candidate:
    """What a runtime usually takes for a net of so many layers, on a CPU; `each`: seconds a picture of the net here.

    Measured with ResNet-18 and -50 at 224 pixels in fp32, in seconds of processor time on two cores with AVX-512, the
    lower of the two speeds taken; they grow with the layers that are written, and with what the proof takes.
    """
    first, a_layer, times = USUAL[name]
    return Candidate(name, first + a_layer * layers + PROVEN * each, times)


#: Seconds to import and start, seconds for each layer of the net, and how many times as fast as eager.
USUAL: dict[str, tuple[float, float, float]] = {
    "openvino": (1.5, 0.075, 1.4),
    "onnx": (3.0, 0.1, 1.3),
    "compiled": (12.0, 0.6, 1.3),
}
#: Pictures that net and runtime are asked about first.
PROVEN = 8


def chosen(pictures: int | None, each: float, candidates: Sequence[Candidate], lacking: Sequence[str] = ()) -> Decision:
    """The decision for so many pictures (None: no end is known), of which the net as it is takes `each` seconds.

    `lacking` are runtimes that are not installed.
    """
    if not candidates:
        hint = f"; residua[{lacking[0]}] would be faster" if lacking else ""
        return Decision("runtime", "eager", f"no other runtime is installed{hint}", FLAG)
    if pictures is None:
        best = max(candidates, key=lambda c: c.times)
        if best.times <= 1 / WORTH:
            return Decision("runtime", "eager", "nothing else is faster here", FLAG)
        return Decision("runtime", best.name, "the fastest once it is prepared", FLAG)
    alone = pictures * each
    best = min(candidates, key=lambda c: c.total(pictures, each))
    total = best.total(pictures, each)
    counts = f"{pictures:,} pictures"
    if total > WORTH * alone:
        return Decision("runtime", "eager", f"{counts} take {seconds(alone)}: preparing another does not pay", FLAG)
    about = "" if best.known else "about "
    why = f"{counts} take {about}{seconds(total)} with it, {seconds(alone)} without"
    return Decision("runtime", best.name, why, FLAG)


def seconds(value: float) -> str:
    """``8 s``, ``3 min``: a duration that is only estimated."""
    if value < 120:
        return f"{max(1, round(value))} s"
    return f"{round(value / 60)} min" if value < 7200 else f"{value / 3600:.1f} h"
