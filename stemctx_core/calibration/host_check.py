"""Whether a frame is of the declared host, or looks like another one.

Two things of a frame depend on the host and on nothing that the calibration fits: the lattice constant, where the
pixel size is known, and the ratio X2/M of the two sublattices. Both are compared with every known host. Another host
is believed only where it explains the frame much better; a pixel size or detector angles that are merely off fit no
host, and are left to the warnings. Hosts that are rarely grown count only where a pixel size speaks for them too. The
mean unit cell itself does not help: once source size and ratio are fitted, it tells no two hosts apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np

from stemctx_core.calibration.calibrate import FrameCalibration, expected_ratio
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.materials import Host
from stemctx_core.errors import FrameError, LibraryError
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics

#: Log-odds (nats) from which another host is believed. Among frames of the right host whose pixel size is off by
#: 2 % and whose X2/M by 5 % (standard deviations) this refuses 1.8 %.
BELIEVED: Final = 2.0
#: Logarithm of X2/M and of the pixel size: standard deviation, that of a value which is wrong, and how often it is.
_RATIO: Final = (0.06, 0.30, 0.15)
_PIXEL: Final = (0.012, 0.05, 0.10)
#: What a host must make up for that is rarely grown as a 1H monolayer.
_RARE: Final = -1.6
#: The source size hardly moves a ratio; in these steps few of them are computed.
_SIGMA_STEP: Final = 0.05


def likelier_host(
    library: ResponseLibrary,
    host: Host,
    plausible: Sequence[Optics],
    calibration: FrameCalibration,
    pixel_size_off: float | None,
) -> tuple[Host, float]:
    """The known host, other than the declared one, that explains a frame best, and its log-odds over that one.

    Parameters
    ----------
    plausible
        The optics, or all that they may be where some of them are not known.
    calibration
        Of the frame as the declared host.
    pixel_size_off
        Pixel size by the declared host's lattice over the calibrated one; None where no pixel size is known.
    """
    sigma = round(calibration.sigma_angstrom / _SIGMA_STEP) * _SIGMA_STEP
    ratios = [_ratios(library, replace(optics, sigma_angstrom=sigma)) for optics in plausible]
    seen = float(np.log(calibration.ratio * calibration.expected_ratio))
    scores = {}
    for name in ratios[0]:
        known, rare = materials.host(name), name not in materials.hosts()
        if rare and name != host.name and pixel_size_off is None:
            continue
        # The sublattices may be named the wrong way round.
        away = min(abs(either - r[name]) for r in ratios for either in (seen, -seen))
        score = _log_density(away, *_RATIO)
        if pixel_size_off is not None:
            stretch = math.log(pixel_size_off * known.a_angstrom / host.a_angstrom)
            score += _log_density(stretch, *_PIXEL)
        scores[name] = score + _RARE if rare and name != host.name else score
    own = scores.pop(host.name)
    if not scores:
        return host, -np.inf
    best = max(scores, key=lambda name: scores[name])
    return materials.host(best), scores[best] - own


def check_host(
    library: ResponseLibrary,
    host: Host,
    plausible: Sequence[Optics],
    calibration: FrameCalibration,
    pixel_size_off: float | None,
) -> None:
    """Raise `FrameError` where another host explains the frame much better; see `likelier_host`."""
    other, odds = likelier_host(library, host, plausible, calibration, pixel_size_off)
    if odds < BELIEVED:
        return
    seen = calibration.ratio * calibration.expected_ratio
    words = f"X2/M is {seen:.2f} (or {1 / seen:.2f}) in the frame, {calibration.expected_ratio:.2f} is expected"
    if pixel_size_off is not None:
        words += f", and its lattice gives a pixel size {pixel_size_off - 1:+.1%} off the given one"
    raise FrameError(
        "wrong_host",
        f"The frame does not look like {host.name}: {words}. {other.name} fits better.",
        "Check the host, the detector angles and the pixel size; without a pixel size only the ratio is compared.",
    )


@lru_cache(maxsize=64)
def _ratios(library: ResponseLibrary, optics: Optics) -> dict[str, float]:
    """Logarithm of X2/M of every host whose columns the library holds."""
    found = {}
    for name, host in {**materials.hosts(), **materials.held_out_hosts()}.items():
        try:
            found[name] = float(np.log(expected_ratio(library, host, optics)))
        except LibraryError:
            continue
    return found


def _log_density(away: float, sd: float, wide_sd: float, wrong: float) -> float:
    """Logarithm of a Gaussian with a wide foot, relative to the middle of the narrow one."""
    narrow = (1 - wrong) * math.exp(-0.5 * (away / sd) ** 2)
    wide = wrong * sd / wide_sd * math.exp(-0.5 * (away / wide_sd) ** 2)
    return math.log(narrow + wide) if narrow + wide > 0 else -math.inf
