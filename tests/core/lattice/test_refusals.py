"""What is no lattice is refused, with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from stemctx_core.errors import InputError
from stemctx_core.lattice import find_sites
from tests.core.frames import HAADF, MAADF, FrameRecipe, make_frame
from tests.core.lattice.found import WSE2, refusal


def _amorphous(seed: int, grain_px: float) -> NDArray:
    rng = np.random.default_rng(seed)
    film = ndimage.gaussian_filter(rng.normal(size=(512, 512)), grain_px)
    return rng.poisson(20 * np.exp(film / film.std() * 0.3)).astype(np.float32)


@pytest.mark.parametrize("hint", [0.2, None])
@pytest.mark.parametrize("seed", range(3))
def test_noise_and_amorphous_films_are_refused(seed: int, hint: float | None) -> None:
    rng = np.random.default_rng(seed)
    assert refusal(rng.poisson(3.0, (512, 512)), hint).code == "no_lattice"
    assert refusal(rng.normal(size=(90, 512)), hint).code == "no_lattice"
    for grain_px in (1.5, 3.0, 6.0):
        assert refusal(_amorphous(seed, grain_px), hint).code == "no_lattice"


@pytest.mark.parametrize("seed", range(3))
def test_scattered_atoms_are_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    atoms = np.zeros((512, 512))
    atoms[tuple(rng.integers(0, 512, (2, 400)))] = 200.0
    image = rng.poisson(ndimage.gaussian_filter(atoms, 2.5) + 2)
    assert refusal(image).code == "no_lattice"
    assert refusal(image, None).code == "no_lattice"


@pytest.mark.parametrize("image", [np.zeros((256, 256)), np.full((256, 256), 7, np.uint8)])
def test_a_constant_frame_is_refused(image: NDArray) -> None:
    assert refusal(image).code == "no_lattice"


def test_a_grating_is_refused() -> None:
    """One direction of fringes, and a square lattice, are no hexagon."""
    y, x = np.mgrid[:400, :400] * 2 * np.pi / 14.4
    rng = np.random.default_rng(0)
    assert refusal(rng.poisson(5 + 3 * np.sin(x))).code == "no_lattice"
    assert refusal(rng.poisson(8 + 3 * np.sin(x) + 3 * np.sin(y))).code == "no_lattice"


@pytest.mark.parametrize("host", ["MoS2", "MoSe2", "MoTe2", "WS2", "WSe2", "WTe2"])
def test_dark_columns_are_refused(host: str) -> None:
    """Inverted contrast of every host, one dominant sublattice or two alike; the right way round all pass above."""
    for optics in (HAADF, MAADF):
        frame = make_frame(FrameRecipe(host=host, optics=optics, seed=1))
        error = refusal(frame.image.max() - frame.image, host=host)
        assert error.code == "contrast"
        assert "dark-field" in error.fix


def test_too_few_rows_are_refused() -> None:
    frame = make_frame(FrameRecipe(shape=(512, 512)))
    assert refusal(frame.image[:50]).code == "too_small"
    assert refusal(frame.image[:8]).code == "too_small"
    assert refusal(frame.image[:50], None).code in {"too_small", "no_lattice"}
    assert refusal(np.zeros((0, 512))).code == "too_small"


def test_nan_and_infinity_are_refused() -> None:
    frame = make_frame(FrameRecipe(shape=(128, 128)))
    for bad in (np.nan, np.inf):
        image = frame.image.copy()
        image[100:] = bad
        error = refusal(image)
        assert error.code == "not_finite"
        assert str(28 * 128) in error.reason


def test_what_is_no_frame_is_an_input_error() -> None:
    good = np.zeros((64, 64))
    for image in (np.zeros((3, 64, 64)), np.zeros(64), good.astype(complex)):
        with pytest.raises(InputError, match="two-dimensional"):
            find_sites(image, WSE2, 0.8, 0.2)
    for ratio, pixel in ((0.0, 0.2), (np.nan, 0.2), (0.8, 0.0), (0.8, -1.0), (0.8, np.nan)):
        with pytest.raises(InputError, match="positive"):
            find_sites(good, WSE2, ratio, pixel)
