"""Why the arithmetic is exact, layer by layer, as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from esp_hil.exact.proof import Headroom, Proof


def explain(proofs: Iterable[Proof]) -> str:
    """A table: node, operator, path, bound, limit and bound/limit, note."""
    rows = [("node", "operator", "path", "bound", "limit", "used", "note")]
    for proof in proofs:
        used = f"{proof.bound / proof.limit:.1%}" if proof.limit else ""
        bound, limit = (str(number) if number else "" for number in (proof.bound, proof.limit))
        rows.append((proof.node, proof.op_type, proof.path, bound, limit, used, proof.note))
    return _table(rows)


def explain_headroom(headroom: Iterable[Headroom], hits: dict[str, int] | None = None) -> str:
    """A table of esp32s3's 20-bit lanes: how many can saturate, the worst sum, headroom, what happened."""
    rows = [("node", "lanes", "can saturate", "worst sum", "margin bits", "saturated")]
    for layer in headroom:
        did = "" if hits is None else str(hits.get(layer.node, 0))
        rows.append(
            (
                layer.node,
                str(layer.lanes),
                str(layer.risky),
                str(layer.worst),
                f"{layer.margin_bits:+.1f}",
                did,
            )
        )
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join(lines)
