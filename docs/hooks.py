"""Pages that the documentation makes of files that stand elsewhere, so that they cannot fall behind them."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import licences  # beside this file, where MkDocs looks while it loads a hook
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parent.parent
CARD = ROOT / "stemctx_core" / "bundles" / "candidate_scorer" / "card.json"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Say below every page of which version it speaks."""
    config.copyright = f"stemctx {importlib.metadata.version('stemctx')}, GPL-3.0-or-later"
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the changelog, the guide for contributors, the model card, the dependencies and the examples."""
    pages = {
        "changelog.md": changelog(),
        "contributing.md": _from_root((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")),
        "model_card.md": model_card(json.loads(CARD.read_text(encoding="utf-8"))),
        "dependencies.md": licences.page(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for example in sorted((ROOT / "examples").iterdir()):
        if example.suffix in {".py", ".ipynb"}:
            files.append(File.generated(config, f"examples/{example.name}", abs_src_path=str(example)))
        if example.suffix == ".ipynb":
            page = File.generated(config, f"examples/{example.stem}.md", content=notebook(example))
            page.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(page)
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Examples stand beside docs/ in the repository and in a folder of the site, where a notebook is a page to read."""
    return re.sub(
        r"\]\(\.\./examples/([\w.]+)\)", lambda m: f"](examples/{m[1].replace('.ipynb', '.md')})", markdown
    )


def notebook(path: Path) -> str:
    """A notebook as a page: its words and its code, without what it prints."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    parts = [
        text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"
        for cell, text in zip(cells, texts, strict=True)
    ]
    title, _, rest = parts[0].partition("\n")
    told = f"A notebook, shown without what it prints: [{path.name}]({path.name}) is there to be downloaded and run."
    return "\n\n".join((title, told, rest.strip(), *parts[1:])) + "\n"


def changelog() -> str:
    """What the next release brings, and what those before it brought."""
    fragments = sorted(path for path in (ROOT / "changelog.d").glob("*.*.md"))
    coming = "".join(f"- {path.read_text(encoding='utf-8').strip()}\n" for path in fragments)
    next_one = f"\n## Next\n{coming}" if coming else ""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.replace("# Changelog\n", f"# Changelog\n{next_one}", 1)


def _from_root(text: str) -> str:
    """Links of a page of the repository's root, as seen from docs/."""
    return re.sub(r"\]\(docs/", "](", text)


def model_card(card: dict[str, Any]) -> str:
    """Write the card of the shipped model as a page."""
    training = card["training"]
    ranges = training["ranges"]
    lines = [
        "# Model card",
        "",
        f"`{card['name']}`: {card['what']}.",
        "",
        "| file | SHA-256 |",
        "|---|---|",
        *(f"| `{name}` | `{entry['sha256']}` |" for name, entry in card["files"].items()),
        "",
        "## What it was trained on",
        f"{training['patches']:,} patches rendered from the library of column responses; no real micrograph.",
        "",
        f"- hosts: {', '.join(training['hosts'])}",
        f"- high tension: {', '.join(f'{kv:g}' for kv in training['high_tensions_kv'])} kV",
        *(f"- {_words(name)}: {_range(value)}" for name, value in ranges.items()),
        f"- roles it can name: {', '.join(card['roles'])}",
        "",
        "| host | dopants |",
        "|---|---|",
        *(f"| {host} | {', '.join(dopants)} |" for host, dopants in training["dopants"].items()),
        "",
        "## How good it is",
        "On scenes that training never drew, beside the exact Bayes posterior: [figures](figures.md), printed by",
        "`stemctx evaluate`.",
        "",
        "## What it is not for",
        "Amorphous material, other phases than 1H, more than one layer, and intensities that are not linear in the signal.",
        "Frames outside the ranges above are refused with the reason.",
        "",
    ]
    return "\n".join(lines)


def _words(name: str) -> str:
    return (
        name.replace("_e_per_angstrom2", " (e/Å²)")
        .replace("_mrad", " (mrad)")
        .replace("_angstrom", " (Å)")
        .replace("_", " ")
    )


def _range(value: Any) -> str:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, int | float) for v in value):
        return f"{value[0]:g} to {value[1]:g}"
    return str(value)
