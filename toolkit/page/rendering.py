"""Pages out of Jinja2 templates: one file of HTML that needs nothing else, in which every text is escaped."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from toolkit.page.markup import cell
from toolkit.page.style import CSS


def environment(package: str, **filters: Callable[..., Any]) -> Environment:
    """The templates of a package's pages, and those that all pages share.

    Texts are escaped unless they are `Markup`, and a name that the page was not given is an error.

    Args:
        package: whose folder `templates` holds them.
        filters: further functions for values, by name; all pages have `cell`.
    """
    pages = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("toolkit.page")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"cell": cell, **filters}
    return pages


def render(
    pages: Environment, name: str, *, title: str, css: str = "", script: str = "", **values: Any
) -> str:
    """A whole page. The browser may load nothing, and may run no script but the one given here.

    Args:
        pages: what `environment` returned.
        name: of the template, which extends page.html.
        title: of the window.
        css: style of this page alone; it is trusted.
        script: JavaScript that runs once the page is there; it is trusted.
        values: what the template reads.
    """
    return pages.get_template(name).render(
        title=title,
        css=Markup(CSS + css),
        script=Markup(script),
        policy=Markup(_policy(script)),
        **values,
    )


def _policy(script: str) -> str:
    """A content security policy: styles and pictures of the page itself, no network, no script but one by its hash.

    Forms and a base for links are not allowed either.
    """
    allowed = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed += f"; script-src 'sha256-{digest}'"
    return allowed
