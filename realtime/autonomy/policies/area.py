"""Where a policy looks: an area as overlapping fields, and the scan of one field at a wanted dose."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from realtime.autonomy.microscope import Microscope, Pair, ScanRequest
from stemctx_core.errors import InputError

#: Half a patch of any known host (0.45 nm at most), and what the specimen may drift away meanwhile.
BORDER_NM: Final = 0.55
_TRIED_DWELL_S: Final = 1e-6


class FieldScan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a field is scanned.

    Attributes
    ----------
    dose_e_per_angstrom2
        Electrons per area; the dwell time follows from it and the probe current.
    field_of_view_nm, pixels
        Side of the square field.
    """

    dose_e_per_angstrom2: float
    field_of_view_nm: float = 10.0
    pixels: int = 384

    def __post_init__(self) -> None:
        if not (self.dose_e_per_angstrom2 > 0 and self.field_of_view_nm > 0 and self.pixels > 0):
            raise InputError("Dose, field of view and pixels of a field must be above 0.")

    def request(self, microscope: Microscope, centre_nm: Pair) -> ScanRequest:
        """The scan that gives the dose at a place.

        Raises
        ------
        InputError
            Where the microscope does not know its probe current.
        """
        return at_dose(
            microscope,
            ScanRequest(centre_nm, self.field_of_view_nm, (self.pixels, self.pixels), _TRIED_DWELL_S),
            self.dose_e_per_angstrom2,
        )


class Area(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rectangle in scan coordinates.

    Attributes
    ----------
    size_nm
        Height and width.
    centre_nm
        y, x.
    """

    size_nm: Pair
    centre_nm: Pair = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not min(self.size_nm) > 0:
            raise InputError(f"An area of {self.size_nm[0]:g} by {self.size_nm[1]:g} nm holds nothing.")

    def holds(self, position_nm: Pair) -> bool:
        """Whether a point lies in it."""
        return all(
            abs(p - c) <= s / 2 for p, c, s in zip(position_nm, self.centre_nm, self.size_nm, strict=True)
        )

    def centres(self, field_of_view_nm: float, border_nm: float = BORDER_NM) -> tuple[Pair, ...]:
        """Centres of square fields in which every point of the area is seen with its whole patch.

        Row by row, every other row backwards, so that neighbours in place are neighbours in time.

        Parameters
        ----------
        border_nm
            What is not judged along the edges of a field.
        """
        inner = field_of_view_nm - 2 * border_nm
        if not inner > 0:
            raise InputError(
                f"A field of {field_of_view_nm:g} nm has no inside {border_nm:g} nm from its border. Use a larger one."
            )
        rows, columns = (
            [c + (k - (n - 1) / 2) * s / n for k in range(n)]
            for c, s in zip(self.centre_nm, self.size_nm, strict=True)
            for n in [max(1, math.ceil(s / inner - 1e-9))]
        )
        return tuple((y, x) for r, y in enumerate(rows) for x in (columns if r % 2 == 0 else columns[::-1]))


def at_dose(microscope: Microscope, request: ScanRequest, dose_e_per_angstrom2: float) -> ScanRequest:
    """The same field with the dwell time that gives a dose; dose is proportional to dwell time."""
    tried = microscope.dose_e_per_angstrom2(request)
    if not tried > 0:
        raise InputError("The microscope states no dose for a scan. Is there a probe current?")
    return msgspec.structs.replace(request, dwell_s=request.dwell_s * dose_e_per_angstrom2 / tried)
