"""Jinja templates of the pages, as all pages are made: what is not HTML of ours is text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str) -> Template:
    """A template of report/templates, such as `report.html.j2`; a value that it asks for must be given."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("esp_hil.report"),
        autoescape=True,  # a model or board called <script> is text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
