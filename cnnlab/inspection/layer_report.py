"""Descriptions of networks: as plain text, Markdown or JSON, one network layer by layer or several side by side."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from cnnlab.inspection.layers import Layer, LayerTable
from cnnlab.inspection.published import Figure, Published

Form = Literal["plain", "markdown", "json"]
Rows = list[list[str]]

# Columns that are aligned to the right.
NUMBERS = {
    *("parameters", "params", "MACs", "memory", "field", "compression", "compr."),
    *("published", "ours", "layers", "smallest map"),
}
WRAPPED = {"layer", "kind", "source"}
KIND_WIDTH = len("BatchNorm2d")
EXACT_FROM = 110  # columns of a terminal; below, counts are rounded
APART_FROM = 150  # below, kernel, stride and padding are one column


@dataclass(frozen=True)
class Description:
    """A network and what is printed about it.

    Attributes:
        model: its name.
        classes: that it names.
        table: its layers.
        published: what is printed about this network in this form.
    """

    model: str
    classes: int
    table: LayerTable
    published: Sequence[Published]


def render(descriptions: Sequence[Description], compare: bool, format: Form, width: int | None = None) -> str:
    """The text that describes networks.

    Args:
        descriptions: of the networks; one, where they are not compared.
        compare: whether a line for each of them is wanted, instead of the layers.
        format: `plain`, `markdown` or `json`.
        width: columns that plain text may take; None for as many as it needs.
    """
    if format == "json":
        objects = [as_dictionary(description) for description in descriptions]
        return json.dumps({"models": objects} if compare else objects[0], indent=2) + "\n"
    columns = width if format == "plain" else None
    parts = _comparison(descriptions, columns) if compare else _layers(descriptions[0], columns)
    return "\n".join(_markdown(part) if format == "markdown" else _plain(part, width) for part in parts)


def as_dictionary(description: Description) -> dict[str, Any]:
    """A description as plain values: sizes in pixels, height before width; counts; bytes; null where there is none."""
    table = description.table
    return {
        "model": description.model,
        "image": list(table.image_shape),
        "classes": description.classes,
        "parameters": table.parameters,
        "trainable_parameters": table.trainable_parameters,
        "macs": table.macs,
        "activation_bytes": table.activation_bytes,
        "layers_with_weights": table.weighted_layers,
        "receptive_field": _field_size(table.last_map),
        "smallest_map": _as_list(table.smallest_map),
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
    window, seen = layer.window, layer.field
    return {
        "name": layer.name,
        "kind": layer.kind,
        "kernel": _as_list(window and window.kernel),
        "stride": _as_list(window and window.stride),
        "padding": _as_list(window and window.padding),
        "dilation": _as_list(window and window.dilation),
        "groups": window and window.groups,
        "output": _as_list(layer.output),
        "parameters": layer.parameters,
        "macs": layer.macs,
        "activation_bytes": layer.activation_bytes,
        "receptive_field": _field_size(layer),
        "larger_than_image": seen and seen.exceeds(*table.image_shape[1:]),
        "compression": layer.compression,
    }


def _as_list(values: Sequence[int] | None) -> list[int] | None:
    return None if values is None else list(values)


def _field_size(layer: Layer | None) -> list[int] | None:
    return list(layer.field.size) if layer and layer.field else None


# --- what is shown ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """A table, or nothing but lines of text where there are no rows."""

    title: str
    head: list[str]
    rows: Rows
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
        f"{table.parameters:,} parameters, {table.trainable_parameters:,} of them trained; {table.macs:,} MACs",
        "memory: of the outputs for one image in float32" + (" (K = 1024 bytes)" if short else ""),
        "field: receptive field in pixels a side" + (", * larger than the image" if larger else ""),
        "compression: values of the image per value of the output",
        *(["k/s/p: kernel/stride/padding"] if joined else []),
    ]
    title = f"{description.model}: images {channels} x {height} x {image_width}, {description.classes} classes"
    parts = [_Part(title, ["layer", "kind", *window, "output", *counts], rows, totals, notes)]
    return parts + _published([description], [])


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
        "field: receptive field at the end of the features, in pixels a side, * larger than the image",
        "smallest map: that a window larger than 1x1 gives, height x width",
    ]
    title = f"images {channels} x {height} x {image_width}, {descriptions[0].classes} classes"
    head = ["model", "parameters", "MACs", "memory", "layers", "field", "smallest map"]
    return [_Part(title, head, rows, None, notes), *_published(descriptions, ["model"])]


def _published(descriptions: Sequence[Description], names: list[str]) -> list[_Part]:
    """What is printed about the networks beside what is counted here; with a column for their names where wanted."""
    rows: Rows = []
    for description in descriptions:
        table = description.table
        name = [description.model] if names else []
        for entry in description.published:
            for what, figure, ours in (
                ("parameters", entry.parameters, table.trainable_parameters),
                ("MACs", entry.macs, table.macs),
            ):
                if figure:
                    rows.append([*name, what, str(figure), f"{ours:,}", _difference(figure, ours), entry.source])
            if entry.accuracy is not None:
                rows.append([*name, "test accuracy", f"{entry.accuracy:.2%}", "-", "-", entry.source])
    head = [*names, "figure", "published", "ours", "difference", "source"]
    return [_Part("Published", head, rows)] if rows else []


def _difference(figure: Figure, ours: int) -> str:
    if figure.agrees(ours):
        return "rounds to it" if figure.unit else "equal"
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
    unit, scale = next((u, s) for u, s in (("k", 1e3), ("M", 1e6), ("G", 1e9)) if count < 999.5 * s or u == "G")
    return f"{count / scale:.3g}{unit}"


def _memory(count: int, short: bool) -> str:
    if not count:
        return "-"
    if count < 1024:
        return str(count) if short else f"{count} B"
    unit, scale = ("K", 1024) if count < 1024**2 else ("M", 1024**2)
    return f"{count / scale:,.3g}{unit}" if short else f"{count / scale:,.1f} {unit}iB"


# --- how it is laid out ----------------------------------------------------------------------------------------------


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
    for number, name in enumerate(part.head):
        table.add_column(
            name,
            footer=part.totals[number] if part.totals else "",
            justify="right" if name in NUMBERS else "left",
            overflow="fold",
            no_wrap=name not in WRAPPED,
            min_width=KIND_WIDTH if name == "kind" else None,
            max_width=KIND_WIDTH if name == "kind" and width is not None and width < EXACT_FROM else None,
        )
    for row in part.rows:
        table.add_row(*row)
    buffer = io.StringIO()
    console = Console(file=buffer, width=width or 240, highlight=False, markup=False)
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
