"""`stemctx plan`: which condition, or what dose, would tell some species apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from stemctx_core.errors import InputError
from stemctx_core.look import formats
from stemctx_core.simulation.optics import TYPICAL_SIGMA_ANGSTROM

if TYPE_CHECKING:
    from stemctx_core.planning.conditions import Condition, Question


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    host: Annotated[str, typer.Option(help="Formula of the monolayer, such as WSe2.")],
    species: Annotated[
        list[str],
        typer.Argument(help="Two species or more, as results name them: vac_Se, O_Se, V_W, Se2."),
    ],
    dopant: Annotated[
        list[str] | None, typer.Option(help="Element looked for on the metal site; again for more.")
    ] = None,
    high_tension_kv: Annotated[
        list[float] | None,
        typer.Option(help="Energy that may be used; again for more.", show_default="all of the library"),
    ] = None,
    detector_mrad: Annotated[
        list[str] | None,
        typer.Option(
            help="Detector that may be used, such as 70-200; again for more.", show_default="a grid of them"
        ),
    ] = None,
    error_rate: Annotated[
        float, typer.Option(help="Share of the sites that may be confused, when all are equally frequent.")
    ] = 0.01,
    dose: Annotated[
        float | None, typer.Option(help="Dose in use, e/Å²; the first energy and detector named are in use.")
    ] = None,
    sigma_angstrom: Annotated[
        float, typer.Option(help="Effective source, standard deviation per axis.")
    ] = TYPICAL_SIGMA_ANGSTROM,
    rows: Annotated[int, typer.Option(min=1, help="Conditions to show.")] = 10,
    library: Annotated[Path | None, typer.Option(help="Response library instead of the shipped one.")] = None,
) -> None:
    """Which beam energy and detector tell some species apart, ranked by the dose that they need.

    Damage is not in it: name the energies that the crystal endures.

    Example, oxygen on a selenium vacancy, at the two energies of a microscope:

        stemctx plan --host WSe2 vac_Se O_Se --high-tension-kv 60 --high-tension-kv 80

    and what would help a frame of 1e4 e/Å² on a detector of 70 to 200 mrad at 80 kV:

        stemctx plan --host WSe2 vac_Se O_Se --high-tension-kv 80 --detector-mrad 70-200 --dose 1e4
    """
    # Imported here: no other command waits for them.
    from stemctx_core.planning.conditions import DETECTORS, Question, advice, conditions
    from stemctx_core.simulation.library import ResponseLibrary, shipped_library

    console = Console(width=110)
    used = ResponseLibrary(library) if library else shipped_library()
    question = Question(host, tuple(dopant or ()), tuple(species), error_rate, sigma_angstrom)
    named = [_detector(text) for text in detector_mrad or ()]
    if dose is None:
        ranked = conditions(used, question, high_tension_kv, named or DETECTORS)
    else:
        if not (dose > 0 and high_tension_kv and named):
            raise InputError(
                "A dose in use needs a condition in use: give --high-tension-kv and --detector-mrad, and a dose above 0."
            )
        ranked = conditions(used, question, high_tension_kv, dict.fromkeys((*named, *DETECTORS)))
    console.print(_table(question, ranked[:rows]))
    if not ranked[0].estimate.possible:
        console.print(ranked[0].estimate.reason)
    if dose is not None and high_tension_kv:
        here = _in_use(ranked, high_tension_kv[0], named[0])
        console.print(advice(question.species, here, dose, ranked))


def _detector(text: str) -> tuple[float, float]:
    try:
        inner, outer = (float(part) for part in text.split("-"))
    except ValueError:
        raise InputError(f"'{text}' is no detector. Give inner and outer angle in mrad, as 70-200.") from None
    return inner, outer


def _in_use(ranked: tuple[Condition, ...], kv: float, detector: tuple[float, float]) -> Condition:
    for condition in ranked:
        if (condition.high_tension_kv, condition.inner_mrad, condition.outer_mrad) == (kv, *detector):
            return condition
    raise InputError(
        f"The library has no answer for {detector[0]:g}-{detector[1]:g} mrad at {kv:g} kV. Name another condition."
    )


def _table(question: Question, ranked: tuple[Condition, ...]) -> Table:
    shown = Table(
        title=f"{', '.join(question.species)} in {question.host}, confused in at most {question.error_rate:.1%}"
    )
    for name in ("energy kV", "detector mrad", "dose e/Å²", "separation at most"):
        shown.add_column(name, justify="right")
    for condition in ranked:
        estimate = condition.estimate
        enough = estimate.possible
        separation = "" if enough or math.isinf(estimate.separation) else f"{estimate.separation:.1f} sd"
        shown.add_row(
            f"{condition.high_tension_kv:g}",
            f"{condition.inner_mrad:g}-{condition.outer_mrad:g}",
            formats.number(estimate.dose_e_per_angstrom2) if enough else "none is enough",
            separation,
        )
    return shown
