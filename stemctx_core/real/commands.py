"""`stemctx real`: figures and pictures of real micrographs, where one has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("real")(real)


def real(
    folder: Annotated[
        Path, typer.Argument(help="Folder with the real frames, which are not part of the project.")
    ],
    output: Annotated[
        Path, typer.Option(help="Folder of the page real_images.md, of real_images.json, and of images/.")
    ] = Path("docs"),
) -> None:
    """Measure agreement with people's labels on real micrographs, and what is refused, and write the page of it.

    Precision, recall, F1, average precision, Cohen's kappa by role and the confusion matrix with bootstrap intervals,
    no label being used; what is said of frames that should be refused; the figures that are demanded beside them.

    stemctx real ../shared/data/real --output docs
    """
    import json

    from stemctx_core.real.measuring import measure_all
    from stemctx_core.real.must_show import must_show
    from stemctx_core.real.page import page
    from stemctx_core.real.pictures import pictures
    from stemctx_core.whole_files import write_whole

    console = Console(width=150)
    measured = measure_all(folder, lambda name: console.print(f"judging {name} …"))
    told = {**measured.told, "must_show": must_show(measured.told)}
    images = output / "images"
    images.mkdir(parents=True, exist_ok=True)
    for name, png in pictures(measured).items():
        write_whole(images / name, png)
    write_whole(output / "real_images.json", json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    write_whole(output / "real_images.md", page(told))
    shown = Table(title="What was demanded")
    for head in ("demand", "target", "measured", "met"):
        shown.add_column(head)
    for row in told["must_show"]:
        shown.add_row(row["what"], row["target"], str(row["measured"]), "yes" if row["met"] else "NO")
    console.print(shown)
    console.print(f"page {output / 'real_images.md'}")
