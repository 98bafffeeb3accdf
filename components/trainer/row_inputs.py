"""What the model reads of a row: features after Transform, and what is looked up and drawn for its user."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from components.trainer.co_ratings import CoRatings
from components.trainer.histories import USER_ROW, HistoryTable
from components.trainer.movie_averages import MovieAverages
from components.trainer.thinning import Thinning
from components.trainer.towers import HISTORY_SHARES, OWN, ROW_SHARE
from schemas import features as f

MOVIE_COLUMNS = (*f.MOVIE_INPUTS, f.MOVIE_ID, f.MOVIE_TOKEN, f.MOVIE_LOG_COUNT, f.MOVIE_SCALED_AVERAGE)
_COLUMNS = (*f.USER_INPUTS, *MOVIE_COLUMNS)

Tensors = dict[str, tf.Tensor]
Transform = Callable[[Tensors], Tensors]


@dataclasses.dataclass(frozen=True)
class RowInputs:
    """Makes the model's inputs of rows, in two parts: what is found by ids, and arithmetic, which XLA can compile."""

    transform: Transform
    """Raw features `[batch, n]` -> transformed features."""
    histories: HistoryTable
    """The users' ratings."""
    thinning: Thinning | None = None
    """Shows some rows' users with a part of their ratings, drawn anew in every pass."""
    co_ratings: CoRatings | None = None
    """Factors of these very ratings, of which each row's user's own part is told."""
    averages: MovieAverages | None = None
    """Of the histories' ratings: where the predicted rating starts is then the average of the row's movie without the
    row's own rating."""

    def find(self, raw: Tensors) -> Tensors:
        """Replace the user's id by where the histories have the user, and what they had rated by then.

        Args:
          raw: Features of examples, `[batch, n]` each.
        """
        found = self.histories.find(raw[f.USER_ID], raw[f.MOVIE_ID], raw[f.TIMESTAMP])
        return {name: values for name, values in raw.items() if name != f.USER_ID} | found

    def __call__(self, found: Tensors, seeds: tf.Tensor) -> tuple[Tensors, tf.Tensor]:
        """Make the inputs of a batch.

        Args:
          found: What `find` returned.
          seeds: `[2]` int64, of what is drawn.

        Returns:
          Inputs of the model, and the label `[batch, 1]`.
        """
        drawn, first, part = None, None, None
        if self.thinning:
            drawn = self.thinning.draw(tf.shape(found[USER_ROW])[0], seeds)
            first = tf.where(drawn.first, tf.cast(drawn.kept, tf.int64), tf.int64.max >> 1)
            part = drawn.part
        history = self.histories.latest(found, first, part)
        if self.co_ratings:
            history |= self._own_part(self.co_ratings, found, history)
        raw = {name: found[name] for name in (*f.USER_FEATURES, *f.MOVIE_FEATURES, f.MOVIE_ID, f.TIMESTAMP, f.RATING)}
        if self.thinning and drawn:
            tokens, stars = history[f.USER_HISTORY_TOKENS], history[f.USER_HISTORY_RATINGS]
            raw, history[f.USER_HISTORY_RATINGS] = self.thinning(raw, tokens, stars, drawn)
        features = self.transform(raw) | {f.MOVIE_TOKEN: tf.cast(found[f.MOVIE_TOKEN], tf.int32)}
        if self.averages:
            average = self.averages.without(found[USER_ROW][:, 0], found[f.MOVIE_TOKEN], raw[f.RATING])
            features[f.MOVIE_SCALED_AVERAGE] = f.to_label(average)
        return {name: features[name] for name in _COLUMNS} | history, features[f.LABEL]

    def _own_part(self, co_ratings: CoRatings, found: Tensors, history: Tensors) -> Tensors:
        """Return what the factors owe to the user of each row: the towers' `HISTORY_SHARES`, `ROW_SHARE` and `OWN`."""
        tables, user = co_ratings.tensors, found[USER_ROW][:, 0]
        weight = tf.gather(tables["user_weight"], user)[:, None]

        def of_likes(stars: tf.Tensor) -> tf.Tensor:
            return tf.where(stars >= self.histories.domain.scale.liked_stars, weight, 0.0)

        shares = tf.gather(tables["liking_share"], history[f.USER_HISTORY_TOKENS])
        return {
            HISTORY_SHARES: shares * of_likes(history[f.USER_HISTORY_RATINGS]),
            ROW_SHARE: co_ratings.liked_share * of_likes(found[f.RATING]),
            OWN: tf.gather(tables["own"], user),
        }
