"""How numbers and their units are written, the same in panel, reports, tables, plots and messages.

Two significant digits for what is measured (dose, density), two decimals for a probability or an entropy, whole
milliseconds for a latency. Digits are grouped by a narrow space, so that no comma or point is mistaken.
"""

from __future__ import annotations

import math
from typing import Final

#: Electrons per area of the specimen.
DOSE_UNIT: Final = "e/Å²"
DENSITY_UNIT: Final = "cm⁻²"
ENTROPY_UNIT: Final = "nats"
#: Where there is no number.
NONE: Final = "–"
_RAISED: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NARROW_SPACE: Final = "\u202f"


def number(value: float, digits: int = 2) -> str:
    """A number of any size: ``0.12``, ``340``, ``2 345``, ``1.2 × 10⁵``; a whole power of ten as ``10⁵``.

    Parameters
    ----------
    digits
        Significant digits of the mantissa; one more is shown where no power of ten is split off.
    """
    if not math.isfinite(value):
        return NONE
    if value < 0:
        return f"−{number(-value, digits)}"
    if value == 0 or 0.01 <= abs(value) < 1e4:
        return f"{value:,.0f}".replace(",", _NARROW_SPACE) if abs(value) >= 1000 else f"{value:.{digits + 1}g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = f"10{str(int(exponent)).translate(_RAISED)}"
    return power if math.isclose(value, 10.0 ** int(exponent), rel_tol=1e-9) else f"{mantissa} × {power}"


def count(number_of: int, thing: str) -> str:
    """How many there are of a thing, such as ``1 flag`` and ``2 flags``."""
    return f"{number_of} {thing}{'' if number_of == 1 else 's'}"


def dose(e_per_angstrom2: float) -> str:
    """A dose with its unit."""
    return f"{number(e_per_angstrom2)} {DOSE_UNIT}" if math.isfinite(e_per_angstrom2) else NONE


def density(per_cm2: float) -> str:
    """A density of defects with its unit."""
    return f"{number(per_cm2)} {DENSITY_UNIT}" if math.isfinite(per_cm2) else NONE


def probability(value: float) -> str:
    """A probability between 0 and 1."""
    return f"{value:.2f}"


def entropy(nats: float) -> str:
    """The entropy of a posterior with its unit."""
    return f"{nats:.2f} {ENTROPY_UNIT}"


def latency(milliseconds: float | None) -> str:
    """A latency in whole milliseconds."""
    if milliseconds is None or not math.isfinite(milliseconds):
        return NONE
    return f"{milliseconds:.0f} ms"
