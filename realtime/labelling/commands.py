"""The commands `stemctx label make | serve | status | import | export`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from realtime.engines.options import BundleOption
from stemctx_core.errors import InputError
from stemctx_core.reading.frame_options import (
    CandidatesOption,
    ConvergenceOption,
    HighTensionOption,
    HostOption,
    InnerOption,
    OuterOption,
    PixelSizeOption,
    RecursiveOption,
    listed_elements,
)

#: Where the page is found as long as nothing else has this port.
PORT = 47180
BookArgument = Annotated[Path, typer.Argument(help="Book of labels (SQLite).")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    label = typer.Typer(
        no_args_is_help=True,
        help="Let people label sites of micrographs, blind to the model and to each other.\n\n"
        "stemctx label make frame.tif --host WSe2 --candidates Ti --output book.sqlite\n\n"
        "stemctx label serve book.sqlite\n\n"
        "stemctx agreement book.sqlite",
    )
    label.command("make")(make)
    label.command("serve")(serve)
    label.command("status")(status)
    label.command("import")(bring_in)
    label.command("export")(export)
    app.add_typer(label, name="label")


def make(
    images: Annotated[
        list[Path], typer.Argument(help="Micrographs, folders or patterns, of any kind that is read.")
    ],
    output: Annotated[Path, typer.Option(help="Book to make (SQLite).")],
    host: HostOption = None,
    candidates: CandidatesOption = None,
    high_tension_kv: HighTensionOption = None,
    convergence_mrad: ConvergenceOption = None,
    inner_mrad: InnerOption = None,
    outer_mrad: OuterOption = None,
    pixel_size_angstrom: PixelSizeOption = None,
    recursive: RecursiveOption = False,
    flagged: Annotated[int, typer.Option(help="Flags of each species drawn from a frame, at most.")] = 30,
    undecided: Annotated[int, typer.Option(help="Undecided sites of each sublattice, at most.")] = 20,
    passed: Annotated[int, typer.Option(help="Sites of each sublattice that passed, at most.")] = 30,
    seed: Annotated[int, typer.Option(help="What is drawn follows from this number.")] = 0,
    bundle: BundleOption = None,
) -> None:
    """Draw sites of micrographs by chance, flagged ones and others, and make a book of them.

    stemctx label make frame.tif --host WSe2 --candidates Ti --high-tension-kv 80 --convergence-mrad 30
    --inner-mrad 50 --outer-mrad 120 --output book.sqlite

    How likely each site was to be drawn is kept, so that agreement can be told for the whole frame. What an option
    leaves out is taken from a TOML file beside the image, or from its own metadata, as 'stemctx analyze' does.

    Exit code 0: every frame was judged; 2: none; 3: some were left out, and it is told which.
    """
    from realtime.labelling.making import BookRequest, make_book
    from stemctx_core.labelling.sampling import Amounts
    from stemctx_core.reading.declared import Declared

    options = Declared(
        host=host,
        candidates=listed_elements(candidates),
        high_tension_kv=high_tension_kv,
        convergence_mrad=convergence_mrad,
        inner_mrad=inner_mrad,
        outer_mrad=outer_mrad,
        pixel_size_angstrom=pixel_size_angstrom,
    )
    amounts = Amounts(flagged, undecided, passed).validated()
    made = make_book(BookRequest(tuple(images), options, output, amounts, seed, bundle, recursive), _console())
    if not made.sites:
        raise typer.Exit(2)
    if made.left_out:
        raise typer.Exit(3)


def serve(
    book: BookArgument,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = PORT,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Serve the page on which people label, on this machine only, until Ctrl-C.

    stemctx label serve book.sqlite --open

    Several people may label at once, each in a window of their own. Every answer is on the disk before the next site
    is shown; whoever comes back with the same name goes on where they were.
    """
    try:
        from realtime.labelling.serving import serve as serve_page
    except ModuleNotFoundError as error:
        raise InputError(
            f"The page needs the Python package '{error.name}', which is not installed. "
            'Run: pip install "stemctx[label]"'
        ) from error
    console = _console()

    def announce(address: str) -> None:
        console.print(f"Label at [bold]{escape(address)}[/]")
        console.print("Only this machine can open it. Stop with Ctrl-C; every answer is kept.")
        if browser:
            typer.launch(address)

    # uvicorn raises again what ended it; as an interrupt it is caught here, and the book is closed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve_page(book, port, announce)
    except KeyboardInterrupt:
        console.print("Stopped.")


def status(book: BookArgument) -> None:
    """Who has labelled how many sites.

    stemctx label status book.sqlite
    """
    from rich.table import Table

    from stemctx_core.labelling.book import open_book
    from stemctx_core.labelling.records import Kind

    with open_book(book) as opened:
        total = len(opened.sites())
        table = Table("annotator", "labelled", "skipped", "of", title=str(book), title_justify="left")
        for who in opened.annotators():
            standing = opened.standing(who.number)
            skipped = sum(a.kind is Kind.SKIP for a in standing)
            table.add_row(escape(who.name), str(len(standing) - skipped), str(skipped), str(total))
    _console().print(table)


def bring_in(
    book: BookArgument,
    labels: Annotated[Path, typer.Argument(help="Labels of an operator (docs/labels.md).")],
    annotator: Annotated[str, typer.Option(help="Name they are kept under.")] = "operator",
) -> None:
    """Bring the labels that an operator gave in Nion Swift into a book; one that is not there is made.

    stemctx label import book.sqlite stemctx_labels.jsonl --annotator Anna

    Others can then label the same sites blind. A label that was brought in before is not again.
    """
    from stemctx_core.labelling.book import Book, open_book
    from stemctx_core.labelling.hand import bring_in as bring

    if not labels.is_file():
        raise InputError(f"There is no file {labels}. Check the name.")
    with open_book(book) if book.exists() else Book.create(book) as opened:
        done = bring(opened, labels, annotator)
    console = _console()
    console.print(f"{done.added} labels brought in, {done.labels - done.added} were there already.")
    if done.damaged:
        console.print(f"[yellow]note:[/] {done.damaged} damaged lines were passed over.")


def export(
    book: BookArgument,
    output: Annotated[
        Path, typer.Argument(help="Table of every answer (.csv), or labels for training (.jsonl).")
    ],
    annotator: Annotated[
        str | None, typer.Option(help="For .jsonl: this person's labels; those of the majority where left out.")
    ] = None,
) -> None:
    """Write the labels of a book for other programs.

    stemctx label export book.sqlite labels.csv

    A table holds one row a site and annotator, with the model's answer and the probability with which the site was
    drawn. Labels for training are lines of docs/labels.md, on which 'stemctx tune' works.
    """
    from realtime.labelling.exporting import export_labels

    _console().print(export_labels(book, output, annotator))


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False)
