"""The options of every command that takes a model, and says what is to run it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from realtime.engines.select import EngineKind

BundleOption = Annotated[
    Path | None, typer.Option(help="Folder of a model bundle; the shipped model where left out.")
]
EngineOption = Annotated[
    str,
    typer.Option(
        help=f"What runs the model: auto, {', '.join(EngineKind)}; ':fp16' behind it for half precision."
    ),
]
