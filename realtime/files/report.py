"""The readable report of a batch: one HTML file that needs nothing else, to be opened, mailed or printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

from realtime.files.densities import Density, decided_cm2, densities, pooled
from realtime.files.outcome import Outcome
from stemctx_core.context import Known
from stemctx_core.look import formats
from stemctx_core.look.colours import ROLE_COLOURS, ROLE_WORDS
from stemctx_core.look.report_page import (
    BREAK,
    Html,
    join,
    page,
    picture,
    piece,
    place,
    power,
    table,
    tag,
    tile,
)
from stemctx_core.results import Decision, FrameResult
from stemctx_core.whole_files import write_whole

_PIECE_NM: Final = 2.0
#: Along a side of a flag's picture.
_TILE_PIXELS: Final = 96
_MAP_DPI: Final = 100
_NM2_PER_CM2: Final = 1e14
#: Dots to an inch of a picture that was not judged.
_REFUSED_DPI: Final = 45
_SPOKEN: Final = {
    "high_tension_kv": "high tension (kV)",
    "convergence_semi_angle_mrad": "convergence semi-angle (mrad)",
    "inner_mrad": "inner collection semi-angle (mrad)",
    "outer_mrad": "outer collection semi-angle (mrad)",
    "pixel_size_angstrom": "pixel size (Å)",
    "dose_e_per_angstrom2": "dose (e/Å²)",
}


_ENTROPY: Final = (
    "Entropy of the posterior: 0 where a site is sure, 0.69 nats (ln 2) where two species are equally probable, more where "
    "more are. Sites at the border are left out."
)


class Report:
    """A report that grows with every image; the pictures of one are drawn as soon as it is added.

    Parameters
    ----------
    thumbnails
        Of flags of an image, at most; the surest are shown.
    """

    def __init__(self, thumbnails: int = 200) -> None:
        self._thumbnails = thumbnails
        # Not the results: the report of a thousand frames is not to hold all their sites.
        self._images: list[_Image] = []
        self._sections: list[Html] = []

    def add(self, outcome: Outcome) -> None:
        """Add what became of an image."""
        self._sections.append(_section(outcome, len(self._images), self._thumbnails))
        self._images.append(_image(outcome))

    def write(self, path: Path) -> None:
        """Write the page; the file appears whole or not at all."""
        write_whole(path, self.html())

    def html(self) -> str:
        """The page."""
        judged = [i for i in self._images if i.judged]
        materials = " and ".join(dict.fromkeys(i.material for i in judged))
        title = f"Defects in {materials or 'micrographs'}"
        refused = len(self._images) - len(judged)
        tiles = [
            tile(len(judged), "", f"images judged{f', {refused} not' if refused else ''}"),
            tile(power(sum(i.area_cm2 for i in judged) * _NM2_PER_CM2), "nm²", "area decided"),
            tile(sum(i.flags for i in judged), "", "defects flagged"),
            tile(sum(i.undecided for i in judged), "", "sites undecided"),
        ]
        models = "; ".join(dict.fromkeys(i.model for i in judged)) or "Nothing was judged."
        parts: list[Any] = [
            tag("header", tag("h1", title, id="top"), tag("p", models, class_="soft")),
            tag("div", *tiles, class_="tiles"),
            _list(self._images),
        ]
        for material in dict.fromkeys(i.material for i in judged) if len(judged) > 1 else ():
            found = pooled(d for i in judged if i.material == material for d in i.densities)
            parts += [tag("h2", f"Densities in {material}, all images together"), _densities(found)]
        parts += self._sections
        made = f"Made by stemctx {version('stemctx')} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
        parts.append(tag("footer", f"{made} The table of sites holds what the pictures show."))
        return page(title, parts)


class _Image(NamedTuple):
    """What the head of the page says of an image."""

    label: str
    folder: Path
    judged: bool
    words: str
    material: str = ""
    model: str = ""
    sites: int = 0
    flags: int = 0
    undecided: int = 0
    area_cm2: float = 0.0
    notes: int = 0
    densities: tuple[Density, ...] = ()


def _image(outcome: Outcome) -> _Image:
    result, folder = outcome.result, outcome.files[0].parent.absolute()
    if result is None or not outcome.judged:
        return _Image(outcome.label, folder, False, outcome.refusal)
    counts = result.flag_counts()
    return _Image(
        label=outcome.label,
        folder=folder,
        judged=True,
        words=", ".join(f"{n} {s}" for s, n in counts.items()) or "none",
        material=outcome.material,
        model=f"{result.model} on {result.engine.name}",
        sites=len(result.sites),
        flags=sum(counts.values()),
        undecided=len(result.undecided()),
        area_cm2=decided_cm2(result),
        notes=len(outcome.notes) + len(result.warnings),
        densities=tuple(densities(result)),
    )


def image_table(outcomes: Iterable[Outcome]) -> Html:
    """Table of images, as a page begins with it."""
    return _list([_image(outcome) for outcome in outcomes])


def _list(images: Sequence[_Image]) -> Html:
    rows = [
        (
            tag("a", f"{folder}{i.label}", href=f"#image-{number}", class_="name"),
            _state(i),
            i.sites if i.judged else "",
            i.words,
            i.undecided if i.judged else "",
        )
        for number, (i, folder) in enumerate(zip(images, _folders(images), strict=True))
    ]
    return table(("image", "|", "sites>", "flags, or why not", "undecided>"), rows)


def _folders(images: Sequence[_Image]) -> list[str]:
    """What is to be said of each image's folder so that it is known: nothing where all lie in one."""
    folders = [i.folder for i in images]
    if not folders:
        return []
    top = next(
        (p for p in (folders[0], *folders[0].parents) if all(f.is_relative_to(p) for f in folders)), None
    )
    told = [f.relative_to(top) if top else f for f in folders]
    return [f"{f.as_posix()}/" if f != Path() else "" for f in told]


def _state(image: _Image) -> Html:
    if not image.judged:
        return tag("b", "not judged")
    if not image.notes:
        return Html("judged")
    words = "1 note" if image.notes == 1 else f"{image.notes} notes"
    return Html(f"judged, {tag('b', words)}")


def _densities(found: Iterable[Density]) -> Html:
    rows = [
        (
            join((_dot(ROLE_COLOURS[d.role]), d.species)),
            ROLE_WORDS.get(d.role, d.role.value),
            d.flags,
            power(d.per_cm2),
            join((power(d.low_per_cm2), " to ", power(d.high_per_cm2))),
            power(d.area_cm2 * _NM2_PER_CM2),
        )
        for d in sorted(found, key=lambda d: (-d.flags, d.species))
    ]
    heads = ("species|", "what", "flags>", "density (cm⁻²)>", "95 % interval (cm⁻²)>", "area decided (nm²)>")
    note = (
        "The area is that of the sites that were passed or flagged; what is undecided or at the border adds neither "
        "flags nor area. The interval is that of a Poisson count; flags that are wrong or missed are not in it."
    )
    return join((table(heads, rows), tag("p", note, class_="caption")))


def _dot(colour: str) -> Html:
    return tag("span", class_="dot", style=f"border-color:{colour}")


def _section(outcome: Outcome, number: int, thumbnails: int) -> Html:
    up = tag("a", "all images", href="#top", class_="up")
    result, image = outcome.result, outcome.image
    warnings = result.warnings if result else ()
    place = " and ".join(str(f) for f in outcome.files)
    parts: list[Any] = [tag("h2", outcome.label, up, id=f"image-{number}"), tag("p", place, class_="caption")]
    parts += [tag("p", words, class_="told") for words in (*outcome.notes, *warnings)]
    if not outcome.judged:
        parts.append(tag("p", tag("b", "Not judged. "), outcome.refusal))
    if result is None or image is None:
        return join(parts)
    from realtime.files.figures import entropy_png
    from stemctx_core.look.pictures import overlay_png

    if outcome.judged:
        drawn = overlay_png(image, result, dpi=_MAP_DPI), entropy_png(result, image.shape)
        parts += [
            tag("figure", picture(drawn[0], f"Map of the flags in {outcome.label}")),
            _densities(densities(result)),
            tag("figure", picture(drawn[1], f"Entropies in {outcome.label}")),
            tag("p", _ENTROPY, class_="caption"),
            *_flags(outcome, thumbnails),
        ]
    else:
        bare = overlay_png(image, replace(result, refusal=None), dpi=_REFUSED_DPI)  # the reason stands above
        parts.append(tag("figure", picture(bare, outcome.label)))
    parts.append(_context(result))
    return join(parts)


def _flags(outcome: Outcome, most: int) -> list[Html]:
    from stemctx_core.look.pieces import grey_levels, piece_png

    result, image = outcome.result, outcome.image
    assert result is not None
    assert image is not None
    flagged = result.where(Decision.FLAG)
    if not len(flagged) or not most or result.calibration is None:
        return []
    probability, entropy = result.sites.probability, result.sites.entropy_nats
    shown = sorted(flagged, key=lambda i: -probability[i])[:most]
    pixel_nm = result.calibration.pixel_size_angstrom / 10
    levels = grey_levels(image)
    pieces: list[Html] = []
    for i in sorted(shown, key=lambda i: (result.species(int(i)), -probability[i])):
        y, x = float(result.sites.y_px[i]), float(result.sites.x_px[i])
        species = result.species(int(i))
        caption = join(
            (tag("b", species), f" p = {formats.probability(probability[i])}", BREAK, place(y * pixel_nm, x * pixel_nm), BREAK,
             f"entropy {formats.entropy(entropy[i])}")
        )  # fmt: skip
        colour = ROLE_COLOURS[result.role(int(i))]
        png = piece_png(image, (y, x), _PIECE_NM / pixel_nm, levels, _TILE_PIXELS)
        pieces.append(piece(png, colour, caption, f"{species} at {y:.0f}, {x:.0f}"))
    left = len(flagged) - len(shown)
    more = f" The {len(shown)} surest; {left} more stand in the table." if left else ""
    note = (
        f"Each piece is {_PIECE_NM:g} nm wide, with the site in the ring; p is the probability of the species, and the "
        f"place is (y, x) from the first pixel.{more}"
    )
    return [
        tag("details", tag("summary", f"{len(flagged)} flags"), tag("p", note, class_="caption"),
            tag("div", *pieces, class_="pieces")),
    ]  # fmt: skip


def _context(result: FrameResult) -> Html:
    rows = [
        (_SPOKEN[name], power(value.value), f"{value.source}: {value.detail}" if value.detail else value.source)
        if isinstance(value, Known)
        else (_SPOKEN[name], "–", value.reason)
        for name, value in result.context.quantities()
    ]
    calibration = result.calibration
    if calibration is not None:
        rows += [
            ("pixel size, measured (Å)", power(calibration.pixel_size_angstrom), "the frame's lattice"),
            ("dose, measured (e/Å²)", power(calibration.dose_e_per_angstrom2), "the frame's noise"),
            ("chalcogen pair over metal, X2/M", power(calibration.ratio_measured),
             f"peaks of the host's columns; {calibration.ratio_expected:.2f} is expected"),
        ]  # fmt: skip
    return tag("details", tag("summary", "Imaging context"), table(("", "value>", "source"), rows))
