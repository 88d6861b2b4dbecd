"""A comparison as one page (HTML) with its pictures in it."""

from __future__ import annotations

from stemctx_core.comparing import plots
from stemctx_core.comparing.comparison import Comparison
from stemctx_core.comparing.permutation import BLOCK_ANGSTROM, PERMUTATIONS
from stemctx_core.comparing.told import change_words, gap_rows, summary_rows
from stemctx_core.look.report_page import Html, join, page, picture, table, tag, tile


def comparison_page(found: Comparison, simulated: str, measured: str) -> str:
    """The whole page.

    Parameters
    ----------
    simulated, measured
        Names of the frames.
    """
    lattice = found.measured.lattice
    head = tag(
        "header",
        tag("h1", f"{simulated} against {measured}"),
        tag("p", f"{lattice.host.name}, {len(lattice.features)} measured columns", class_="soft"),
    )
    changes = change_words(found)
    body = [
        head,
        tag("div", join(_tiles(found)), class_="tiles"),
        *(tag("p", words, class_="told") for words in found.warnings),
        _figure(plots.frames(found), "pieces of the frames"),
        tag("h2", "The gap"),
        tag(
            "p",
            f"Distances beyond what chance gives: blocks of {BLOCK_ANGSTROM:g} Å of both frames are dealt out anew "
            f"{PERMUTATIONS} times, and p is the share of deals that are as far apart. Contrast and columns: earth mover's "
            "distance of the histograms, in columns. Noise: logarithm of the ratio of the spectra, root mean square. "
            "Features and evidence: of the host's own columns, whitened, both sublattices added.",
            class_="caption",
        ),
        table(["distance", "simulated>", "p>", "fitted>", "p>"], gap_rows(found)),
        tag("h2", "The host's columns"),
        table(["number", "simulated>", "measured>", "fitted>", "what moves it"], summary_rows(found)),
        _figure(plots.histograms(found), "histograms of pixels and columns"),
        _figure(plots.spectra(found), "noise spectra"),
        _figure(plots.cells(found), "mean unit cells"),
    ]
    if changes:
        body += [tag("h2", "What to simulate with"), tag("ul", join(tag("li", line) for line in changes))]
    return page(f"{simulated} against {measured}", body)


def _tiles(found: Comparison) -> list[Html]:
    tiles = []
    for label, name in (
        ("noise spectrum", "noise"),
        ("features, Fréchet", "frechet"),
        ("contrast", "contrast"),
    ):
        before = getattr(found.before, name).beyond_chance
        after = f" → {getattr(found.after, name).beyond_chance:.3g}" if found.after else ""
        tiles.append(
            tile(f"{before:.3g}{after}", "", f"gap of the {label}, simulated{' → fitted' if after else ''}")
        )
    return tiles


def _figure(png: bytes, alt: str) -> Html:
    return tag("figure", picture(png, alt), class_="wide")
