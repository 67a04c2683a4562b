"""Describe networks as plain text, Markdown or JSON: one network layer by layer, or several side by side."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.table import Table

from cnnlab.display import SafeConsole
from cnnlab.inspection.layers import Layer, LayerTable
from cnnlab.inspection.published import Figure, Published
from cnnlab.runs.plain import to_json

Form = Literal["plain", "markdown", "json"]

# Columns aligned to the right.
NUMBERS = {
    *("parameters", "params", "MACs", "memory", "field", "compression", "compr."),
    *("published", "ours", "layers", "smallest map"),
}
WRAPPED = {"layer", "kind", "source"}
KIND_WIDTH = len("BatchNorm2d")
NARROW, LONGEST_NAME = 80, 20  # columns; characters of a name that stay together there
EXACT_FROM = 110  # columns of a terminal; below, counts are rounded
APART_FROM = 150  # below, kernel, stride and padding are one column


@dataclass(frozen=True)
class Description:
    """Network with its layers and what is published about it."""

    model: str  # name of the network
    classes: int  # number of classes
    table: LayerTable  # its layers
    published: Sequence[Published]  # published figures about exactly this network


def render(descriptions: Sequence[Description], compare: bool, format: Form, width: int | None = None) -> str:
    """Return a text with the layers of the first network, or one line for each if they are compared.

    `width` is the number of columns available for plain text; None for as many as needed.
    """
    if format == "json":
        objects = [_as_dictionary(description) for description in descriptions]
        return to_json({"models": objects} if compare else objects[0]) + "\n"
    columns = width if format == "plain" else None
    parts = _comparison(descriptions, columns) if compare else _layers(descriptions[0], columns)
    return "\n".join(_markdown(part) if format == "markdown" else _plain(part, width) for part in parts)


def _as_dictionary(description: Description) -> dict[str, Any]:
    """Return the values for JSON: sizes in pixels, height before width; None for what is missing or unknown."""
    table = description.table
    return {
        "model": description.model,
        "image": table.image_shape,
        "classes": description.classes,
        "parameters": table.parameters,
        "trainable_parameters": table.trainable_parameters,
        "macs": table.macs,
        "activation_bytes": table.activation_bytes,
        "layers_with_weights": table.weighted_layers,
        "receptive_field": _field_size(table.last_map),
        "smallest_map": table.smallest_map,
        "published": [
            {
                "source": entry.source,
                "parameters": entry.parameters and str(entry.parameters),
                "parameters_agree": entry.parameters and entry.parameters.agrees(table.trainable_parameters),
                "macs": entry.macs and str(entry.macs),
                "macs_agree": entry.macs and entry.macs.agrees(table.macs),
                "test_accuracy": entry.accuracy,
            }
            for entry in description.published
        ],
        "layers": [_layer_dictionary(layer, table) for layer in table.layers],
    }


def _layer_dictionary(layer: Layer, table: LayerTable) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        **{key: getattr(layer.window, key, None) for key in ("kernel", "stride", "padding", "dilation", "groups")},
        "output": layer.output,
        "parameters": layer.parameters,
        "macs": layer.macs,
        "activation_bytes": layer.activation_bytes,
        "receptive_field": _field_size(layer),
        "larger_than_image": layer.field and layer.field.exceeds(*table.image_shape[1:]),
        "compression": layer.compression,
    }


def _field_size(layer: Layer | None) -> tuple[int, int] | None:
    return layer.field.size if layer and layer.field else None


# --- contents --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """Table with a title, a row of totals and notes below."""

    title: str
    head: list[str]
    rows: list[list[str]]
    totals: list[str] | None = None
    notes: Sequence[str] = ()


def _layers(description: Description, width: int | None) -> list[_Part]:
    table = description.table
    channels, height, image_width = table.image_shape
    short, joined = (width is not None and width < limit for limit in (EXACT_FROM, APART_FROM))
    window = ["k/s/p"] if joined else ["kernel", "stride", "padding"]
    counts = ["params" if short else "parameters", "MACs", "memory", "field", "compr." if joined else "compression"]
    rows = [
        [
            layer.name,
            layer.kind,
            *_window(layer, joined),
            _shape(layer.output, "x" if short else " x "),
            _count(layer.parameters, short),
            _count(layer.macs, short),
            _memory(layer.activation_bytes, short),
            _field(layer, table),
            _compression(layer.compression),
        ]
        for layer in table.layers
    ]
    totals = ["total", *[""] * (len(window) + 2), _count(table.parameters, short), _count(table.macs, short)]
    totals += [_memory(table.activation_bytes, short), "", ""]
    larger = any(layer.field and layer.field.exceeds(height, image_width) for layer in table.layers)
    notes = [
        f"{table.parameters:,} parameters, {table.trainable_parameters:,} of them trainable; {table.macs:,} MACs",
        "memory: of the layer's output for one image in float32" + (" (K = 1024 bytes)" if short else ""),
        "field: side of the receptive field in pixels" + (", * larger than the image" if larger else ""),
        "compression: values of the image per value of the output",
        *(["k/s/p: kernel/stride/padding"] if joined else []),
    ]
    title = f"{description.model}: images {channels} x {height} x {image_width}, {description.classes} classes"
    parts = [_Part(title, ["layer", "kind", *window, "output", *counts], rows, totals, notes)]
    return parts + _published([description])


def _comparison(descriptions: Sequence[Description], width: int | None) -> list[_Part]:
    channels, height, image_width = descriptions[0].table.image_shape
    short = width is not None and width < EXACT_FROM
    rows = [
        [
            description.model,
            _count(table.parameters, short),
            _count(table.macs, short),
            _memory(table.activation_bytes, short),
            str(table.weighted_layers),
            _field(table.last_map, table) if table.last_map else "-",
            _shape(table.smallest_map, "x"),
        ]
        for description in descriptions
        if (table := description.table)
    ]
    notes = [
        "memory: of the outputs of all layers for one image in float32" + (" (K = 1024 bytes)" if short else ""),
        "layers: convolutions and linear layers",
        "field: side of the receptive field at the end of the features, in pixels; * larger than the image",
        "smallest map: height x width of the smallest output of a window larger than 1x1",
    ]
    title = f"images {channels} x {height} x {image_width}, {descriptions[0].classes} classes"
    head = ["model", "parameters", "MACs", "memory", "layers", "field", "smallest map"]
    return [_Part(title, head, rows, None, notes), *_published(descriptions, named=True)]


def _published(descriptions: Sequence[Description], named: bool = False) -> list[_Part]:
    """Return a table that compares published figures with ours, with a column of models if they are named."""
    rows: list[list[str]] = []
    for description in descriptions:
        table = description.table
        name = [description.model] if named else []
        for entry in description.published:
            for what, figure, ours in (
                ("parameters", entry.parameters, table.trainable_parameters),
                ("MACs", entry.macs, table.macs),
            ):
                if figure:
                    rows.append([*name, what, str(figure), f"{ours:,}", _difference(figure, ours), entry.source])
            if entry.accuracy is not None:
                rows.append([*name, "test accuracy", f"{entry.accuracy:.2%}", "-", "-", entry.source])
    head = [*(["model"] if named else []), "figure", "published", "ours", "difference", "source"]
    return [_Part("Published", head, rows)] if rows else []


def _difference(figure: Figure, ours: int) -> str:
    if figure.agrees(ours):
        return "equal when rounded" if figure.unit else "equal"
    return f"{figure.difference(ours):+.1%}"


def _window(layer: Layer, joined: bool) -> list[str]:
    window = layer.window
    if window is None:
        return ["-"] if joined else ["-", "-", "-"]
    kernel, stride, padding = (
        str(a) if a == b else f"{a}x{b}" for a, b in (window.kernel, window.stride, window.padding)
    )
    more = "" if window.dilation == (1, 1) else " d" + "x".join(str(d) for d in dict.fromkeys(window.dilation))
    more += "" if window.groups == 1 else f" g{window.groups}"
    return [f"{kernel}/{stride}/{padding}{more}"] if joined else [kernel + more, stride, padding]


def _field(layer: Layer, table: LayerTable) -> str:
    if layer.field is None:
        return "-"
    height, width = layer.field.size
    mark = "*" if layer.field.exceeds(*table.image_shape[1:]) else ""
    return (str(height) if height == width else f"{height}x{width}") + mark


def _shape(output: Sequence[int] | None, between: str) -> str:
    return between.join(str(side) for side in output) if output else "-"


def _compression(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio:.3g}" if ratio < 999.5 else f"{ratio:,.0f}"


def _count(count: int, short: bool) -> str:
    if not count:
        return "-"
    if not short or count < 1000:
        return f"{count:,}"
    scale, unit = next((s, u) for s, u in ((1e3, "k"), (1e6, "M"), (1e9, "G")) if count < 999.5 * s or u == "G")
    return f"{count / scale:.3g}{unit}"


def _memory(count: int, short: bool) -> str:
    if not count:
        return "-"
    if count < 1024:
        return str(count) if short else f"{count} B"
    unit, scale = ("K", 1024) if count < 1024**2 else ("M", 1024**2)
    return f"{count / scale:,.3g}{unit}" if short else f"{count / scale:,.1f} {unit}iB"


# --- layout ----------------------------------------------------------------------------------------------------------


def _plain(part: _Part, width: int | None) -> str:
    table = Table(
        title=part.title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1 if width is None or width >= APART_FROM else 0),
        collapse_padding=True,
        show_footer=bool(part.totals),
    )
    longest = max((len(row[0]) for row in part.rows), default=0)
    # A narrow terminal rather loses its last columns than breaks every name.
    name_width = min(longest, LONGEST_NAME) if width is not None and width < NARROW else None
    for number, name in enumerate(part.head):
        table.add_column(
            name,
            footer=part.totals[number] if part.totals else "",
            justify="right" if name in NUMBERS else "left",
            overflow="fold",
            no_wrap=name not in WRAPPED,
            min_width=KIND_WIDTH if name == "kind" else name_width if number == 0 else None,
            max_width=KIND_WIDTH if name == "kind" and width is not None and width < EXACT_FROM else None,
        )
    for row in part.rows:
        table.add_row(*row)
    buffer = io.StringIO()
    console = SafeConsole(file=buffer, width=width or 240)
    console.print(table)
    for note in part.notes:
        console.print(note)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _markdown(part: _Part) -> str:
    rows = [*part.rows, *([part.totals] if part.totals else [])]
    lines = [f"**{part.title}**", "", _markdown_row(part.head)]
    lines.append("|" + "|".join("--:" if name in NUMBERS else "---" for name in part.head) + "|")
    lines += [_markdown_row(row) for row in rows]
    if part.notes:
        lines += ["", *(f"- {note}".replace("*", r"\*") for note in part.notes)]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", r"\|").replace("*", r"\*").replace("_", r"\_") for cell in cells)
    return "| " + " | ".join(escaped) + " |"
