"""The report as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import jinja2
import plotly.graph_objects as go
import plotly.io
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from components.evaluation_gate.report import figures
from components.evaluation_gate.report.contents import Contents
from components.evaluation_gate.report.live import Live
from schemas.evaluation import Evaluation


def render(
    contents: Contents,
    evaluation: Evaluation,
    history: Mapping[str, Sequence[float]],
    about: Mapping[str, str] = MappingProxyType({}),
    config: str = "",
    live: Live | None = None,
) -> str:
    """Render the page.

    Args:
      contents: What the report shows.
      evaluation: The gate's measurements and decision.
      history: The Trainer's losses and metrics, evaluation by evaluation; without any, there are no learning curves.
      about: What the model was made of: name -> value, the first lines of the model card.
      config: The Trainer's configuration as JSON.
      live: Who asks the service, where that is known.

    Returns:
      HTML with everything that it needs inside.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["interval"] = lambda cell: "-" if cell is None else "{:.4f} ({:.3f} to {:.3f})".format(*cell)
    return environment.get_template("page.html").render(
        contents=contents,
        evaluation=evaluation,
        about=about,
        config=config,
        live=live,
        # The library goes in once, as it is; the figures refer to it.
        plotly=Markup(get_plotlyjs()),
        curves=_html(figures.learning_curves(history, contents.calibration.scale)) if history else None,
        calibration=_html(figures.calibration(contents.calibration)),
        slices=_html(figures.slices(contents.slices, evaluation.model.rmse)),
        popularity=_html(figures.popularity(contents.popularity)),
        movie_map=_html(figures.movie_map(contents.movie_map)),
    )


def _html(figure: go.Figure) -> Markup:
    html = plotly.io.to_html(
        figure, full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True}
    )
    return Markup(html)
