"""What is declared of a frame: options of a command over what the file itself says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from stemctx_core.context import ImagingContext, Known, Quantity, Source
from stemctx_core.reading import read_micrograph

#: Option of `stemctx analyze` for each quantity that a frame can offer a value for.
OPTIONS = {
    "pixel_size_angstrom": "--pixel-size-angstrom",
    "inner_mrad": "--inner-mrad",
    "outer_mrad": "--outer-mrad",
}


class Declared(msgspec.Struct, frozen=True):
    """What the user says; None where nothing is said.

    Attributes
    ----------
    host, dopants
        Formula of the monolayer, and elements looked for on the metal site.
    high_tension_kv, convergence_mrad, inner_mrad, outer_mrad, pixel_size_angstrom
        Probe, detector and pixel size.
    """

    host: str
    dopants: tuple[str, ...] = ()
    high_tension_kv: float | None = None
    convergence_mrad: float | None = None
    inner_mrad: float | None = None
    outer_mrad: float | None = None
    pixel_size_angstrom: float | None = None


@dataclass(frozen=True)
class DeclaredFrame:
    """An image with what is declared of it.

    Attributes
    ----------
    image
        (height, width) as the file has it.
    context
        What is known, each value with its source.
    name
        Of the file.
    """

    image: NDArray[Any]
    context: ImagingContext
    name: str


def declared_frame(path: Path, declared: Declared) -> DeclaredFrame:
    """Read a frame with its context.

    Raises
    ------
    InputError
        A file that cannot be read, or values that cannot be.
    """
    found = read_micrograph(path)

    def either(value: float | None, option: str, stated: Quantity) -> Quantity:
        return stated if value is None else Known(value, Source.USER, option)

    context = ImagingContext(
        host=declared.host,
        dopants=declared.dopants,
        high_tension_kv=either(declared.high_tension_kv, "--high-tension-kv", found.said.high_tension_kv),
        convergence_semi_angle_mrad=either(
            declared.convergence_mrad, "--convergence-mrad", found.said.convergence_semi_angle_mrad
        ),
        inner_mrad=either(declared.inner_mrad, OPTIONS["inner_mrad"], found.said.inner_mrad),
        outer_mrad=either(declared.outer_mrad, OPTIONS["outer_mrad"], found.said.outer_mrad),
        pixel_size_angstrom=either(
            declared.pixel_size_angstrom, OPTIONS["pixel_size_angstrom"], found.pixel_size_angstrom
        ),
    )
    return DeclaredFrame(found.image, context.validated(), path.name)
