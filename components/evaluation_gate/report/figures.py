"""The report's figures, with Plotly: interactive, and inside of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.colors import qualitative
from plotly.subplots import make_subplots

from components.evaluation_gate.report.contents import Calibration, MovieMap, Popularity, SliceRow
from schemas import features as f
from schemas import keys
from schemas.domain import Scale

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#8a8a8a"
_HEIGHT = 380
_MAP_GENRES = 9
"""Genres with a colour of their own; more cannot be told apart."""


def _styled(figure: go.Figure, height: int = _HEIGHT) -> go.Figure:
    return figure.update_layout(
        template="plotly_white",
        # The page's own colours, which may be dark.
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        height=height,
        margin={"l": 60, "r": 20, "t": 70, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": 1.05, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    )


def learning_curves(history: Mapping[str, Sequence[float]], scale: Scale) -> go.Figure:
    """Draw losses, rating error, and where it was measured the NDCG@10 of eval users, over the time of training."""
    figure = make_subplots(1, 3, subplot_titles=("RMSE", "NDCG@10 of eval users", "loss, softmax included"))
    minutes = [seconds / 60 for seconds in history[keys.SECONDS]]
    star = scale.of_stars(1.0) - scale.of_stars(0.0)

    def draw(values: Sequence[float], name: str, colour: str, column: int) -> None:
        figure.add_scatter(
            x=minutes,
            y=values,
            name=name,
            customdata=history[keys.STEPS],
            hovertemplate="%{y:.4f} after %{customdata:,} steps, %{x:.1f} min",
            mode="lines+markers",
            line_color=colour,
            showlegend=column == 1,
            row=1,
            col=column,
        )

    for key, name, colour in ((keys.MSE, "train", _GREY), (keys.VAL_MSE, "eval", _BLUE)):
        draw([math.sqrt(error) * f.RATING_HALF_RANGE * star for error in history[key]], name, colour, 1)
    for key, name, colour in ((keys.LOSS, "train", _GREY), (keys.VAL_LOSS, "eval", _BLUE)):
        if key in history:
            draw(history[key], name, colour, 3)
    if ndcg := history.get(keys.VAL_NDCG):
        draw(ndcg, "eval users", _BLUE, 2)
        figure.add_vline(
            x=minutes[int(np.argmax(ndcg))],
            line_dash="dot",
            line_color=_ORANGE,
            annotation_text="highest",
            annotation_position="bottom right",
            row=1,
            col=2,
        )
    return _styled(figure.update_xaxes(title="minutes"))


def calibration(data: Calibration) -> go.Figure:
    """Draw the mean rating over the mean prediction; on the diagonal the stars mean what they say."""
    figure = go.Figure()
    scale = [data.scale.min, data.scale.max]
    figure.add_scatter(x=scale, y=scale, mode="lines", line={"color": _GREY, "dash": "dot"}, name="perfect")
    figure.add_scatter(
        x=data.predicted, y=data.given, mode="lines+markers", line_color=_BLUE, name="a twentieth of the ratings each"
    )
    figure.update_xaxes(title="predicted rating", range=scale)
    figure.update_yaxes(title="given rating, mean", range=scale)
    return _styled(figure)


def slices(parts: Mapping[str, Sequence[SliceRow]], whole: float) -> go.Figure:
    """Draw the RMSE of every slice with its interval, beside that of all ratings."""
    figure = make_subplots(1, len(parts), subplot_titles=list(parts), shared_yaxes=True)
    for column, rows in enumerate(parts.values(), 1):
        values, lows, highs = np.array([row.rmse for row in rows]).T
        figure.add_scatter(
            x=[row.name for row in rows],
            y=values,
            error_y={"type": "data", "array": highs - values, "arrayminus": values - lows},
            customdata=[row.ratings for row in rows],
            hovertemplate="%{x}: %{y:.3f} over %{customdata:,} ratings<extra></extra>",
            mode="markers",
            marker_color=_BLUE,
            showlegend=False,
            row=1,
            col=column,
        )
    figure.add_hline(y=whole, line_dash="dot", line_color=_ORANGE)
    figure.update_xaxes(dtick=1, tickangle=-60)
    return _styled(figure.update_yaxes(title="RMSE", col=1), _HEIGHT + 60)


def popularity(data: Popularity) -> go.Figure:
    """Draw what is recommended beside what is liked, over tenths of the train ratings from the most rated movies on."""
    groups = list(range(1, len(data.movies) + 1))
    hover = "%{customdata:,} movies: %{y:.1%}"
    figure = go.Figure()
    for shares, name, colour in (
        (data.liked, "liked in the held-out ratings", _GREY),
        (data.recommended, "recommended", _BLUE),
    ):
        figure.add_bar(x=groups, y=shares, name=name, marker_color=colour, customdata=data.movies, hovertemplate=hover)
    figure.update_yaxes(title="share", tickformat=".0%")
    figure.update_xaxes(title="tenth of the train ratings, most rated movies first", dtick=1)
    return _styled(figure)


def movie_map(data: MovieMap) -> go.Figure:
    """Draw the movies in their plane, titles on hover."""
    names, counts = np.unique(data.genres, return_counts=True)
    coloured = names[np.argsort(-counts, kind="stable")][:_MAP_GENRES].tolist()
    genres = np.array([genre if genre in coloured else "other" for genre in data.genres])
    titles = np.array(data.titles, object)
    figure = go.Figure()
    for genre, colour in zip([*coloured, "other"], qualitative.T10, strict=False):
        rows = genres == genre
        figure.add_scattergl(
            x=data.xy[rows, 0],
            y=data.xy[rows, 1],
            text=titles[rows],
            hovertemplate="%{text}<extra>" + genre + "</extra>",
            mode="markers",
            marker={"size": 5, "opacity": 0.7, "color": colour},
            name=genre,
        )
    figure.update_xaxes(zeroline=False, showticklabels=False)
    figure.update_yaxes(zeroline=False, showticklabels=False)
    return _styled(figure, 560)
