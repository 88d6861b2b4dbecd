"""How colours look to readers with a colour blindness, and how far two of them are apart."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab


class Vision(StrEnum):
    """Which cones are missing."""

    NORMAL = "normal"
    PROTANOPIA = "protanopia"
    DEUTERANOPIA = "deuteranopia"
    TRITANOPIA = "tritanopia"


#: On linear RGB, severity 1: Machado, Oliveira and Fernandes, IEEE Trans. Vis. Comput. Graph. 15, 1291 (2009),
#: https://doi.org/10.1109/TVCG.2009.113, table 1.
_MATRICES: Final = {
    Vision.NORMAL: np.eye(3),
    Vision.PROTANOPIA: np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    Vision.DEUTERANOPIA: np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    Vision.TRITANOPIA: np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def rgb(colours: Sequence[str]) -> NDArray[np.float64]:
    """(n, 3) sRGB of colours such as ``#0072B2``, from 0 to 1."""
    return np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in colours]) / 255


def seen(colours: NDArray[np.float64], vision: Vision) -> NDArray[np.float64]:
    """(n, 3) sRGB that a reader with normal vision sees as another sees `colours`."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    mixed = np.clip(linear @ _MATRICES[vision].T, 0, 1)
    shown: NDArray[np.float64] = np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** (1 / 2.4) - 0.055)
    return shown


def differences(colours: Sequence[str], vision: Vision = Vision.NORMAL) -> NDArray[np.float64]:
    """(n, n) CIEDE2000 colour differences as a reader sees them; about 1 can just be told side by side."""
    lab = rgb2lab(seen(rgb(colours), vision)[None])[0]
    apart: NDArray[np.float64] = deltaE_ciede2000(lab[:, None], lab[None])
    return apart
