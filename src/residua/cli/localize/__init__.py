"""``residua localize``: what one thing a picture shows, and where: trained on a user's boxes, measured, and used."""

import typer

from residua.cli.help import Command, Group, show
from residua.cli.localize.eval import evaluate
from residua.cli.localize.predict import predict
from residua.cli.localize.train import train

app = typer.Typer(name="localize", cls=Group, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def localize(ctx: typer.Context) -> None:
    """Say what one thing a picture shows, and where: a residual classifier with a region head for each class.

    For pictures that show things of one class each. Boxes come as Tiny ImageNet's files, Pascal VOC XML, COCO JSON,
    YOLO text files, or a CSV table; `residua check --boxes` looks at them first.

    Examples:
      residua localize train ./birds
      residua localize eval runs/birds-resnet18-places-1 ./birds
      residua localize predict runs/birds-resnet18-places-1 new/*.jpg
    """
    if ctx.invoked_subcommand is None:
        show(ctx)


app.command("train", cls=Command)(train)
app.command("eval", cls=Command)(evaluate)
app.command("predict", cls=Command)(predict)
