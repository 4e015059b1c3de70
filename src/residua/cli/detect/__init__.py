"""``residua detect``: Faster R-CNN on a residual net: trained on a user's boxes, measured, and used."""

import typer

from residua.cli.detect.eval import evaluate
from residua.cli.detect.explain import explain
from residua.cli.detect.predict import predict
from residua.cli.detect.train import train
from residua.cli.help import Command, Group, show

app = typer.Typer(name="detect", cls=Group, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def detect(ctx: typer.Context) -> None:
    """Find things on pictures: Faster R-CNN with any residual net behind it.

    Boxes come as Pascal VOC XML, COCO JSON, YOLO text files, or a CSV table; `residua check` looks at them first.

    Examples:
      residua detect train ./cells
      residua detect eval runs/cells-resnet18-fpn-1 ./cells
      residua detect predict runs/cells-resnet18-fpn-1 new/*.jpg
      residua detect explain runs/cells-resnet18-fpn-1 new/cell.jpg
    """
    if ctx.invoked_subcommand is None:
        show(ctx)


app.command("train", cls=Command)(train)
app.command("eval", cls=Command)(evaluate)
app.command("predict", cls=Command)(predict)
app.command("explain", cls=Command)(explain)
