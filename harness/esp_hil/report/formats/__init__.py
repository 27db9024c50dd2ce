"""The formats of a report: one module each, found by listing this package.

A format has

    FILE: str                                       the name of its file
    def render(report: Report, path: Path) -> None  writes it; OSError is left to the caller

Simulated figures must be marked in every one of them.
"""
