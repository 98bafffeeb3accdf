"""Configuration of the Trainer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from schemas.configuration import FROZEN

SMALLEST_BATCH, LARGEST_BATCH = 1024, 8192
_BATCHES = 16
"""Batches that an epoch has at least: of less data they are smaller."""


@dataclass(frozen=True, config=FROZEN)
class TrainerConfig:
    """The towers, their loss and how they are trained."""

    hidden_units: tuple[Annotated[int, Field(ge=1)], ...] = (256, 128)
    """Widths of each tower's hidden layers."""
    embedding_dim: Annotated[int, Field(ge=2)] = 32
    """Length of the learned user and movie embeddings."""
    id_dim: Annotated[int, Field(ge=0)] = 32
    """Length of the embedding of a movie id; 0 leaves out which movies are meant, histories with them."""
    id_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the movie ids that training replaces by the unknown movie's."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the rating perceptrons' hidden activations that training drops."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the squared kernel weights in the loss."""
    retrieval_weight: Annotated[float, Field(ge=0)] = 0.5
    """Factor of the sampled softmax in the loss; 0 trains on the rating error alone, by which movies are ranked too."""
    negatives: Annotated[int, Field(ge=1)] = 1024
    """Movies drawn from the catalogue a step, against which the softmax sets those that users chose."""
    uniform_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the negatives that are drawn each as often; the others are drawn by their number of ratings."""
    temperature: Annotated[float, Field(gt=0)] = 0.05
    """Divides the cosines in the softmax."""
    unliked_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the rows below a like that enter the softmax; likes all do. 1 treats all alike."""
    co_rating_dim: Annotated[int, Field(ge=1)] = 64
    """Factors of co-ratings that both towers start from."""
    co_rating_weight: Annotated[float, Field(ge=0)] = 3.6
    """How much the factors of what a user liked and disliked count in the ranking beside the learned embedding."""
    genre_weight: Annotated[float, Field(ge=0)] = 4.0
    """How much the genres that a user likes or dislikes throughout count."""
    popularity_weight: float = -4.0
    """How much log(1 + likes of a movie), of that of the most liked one, counts for a user of whom much is known; an
    eighth of that with ten ratings. Below 0, movies that many liked give way to others."""
    new_user_popularity_weight: float = 12.0
    """The same of whom nothing is known; a quarter of that with ten ratings, and less for who dislikes what they rate,
    or keeps to some genres."""
    least_blend_gain: Annotated[float, Field(ge=0)] = 0.1
    """Share by which NDCG@10 of eval users must rise with other weights of these four, for training to take them; with
    popularity in favour of a movie instead of against it, a quarter more; of the last one, of eval users after their
    first ratings, a fifth of it suffices. The given ones also serve what held-out ratings do not show, that niches get
    niches and lists are not all famous."""
    softmax_rows: Annotated[int, Field(ge=1)] = 1024
    """Rows a step that the softmax looks at, at most. A batch of 1,024 has some 350 that were liked."""
    thinned_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the train rows whose user is shown with a few of their latest ratings alone, so that the towers learn
    what to make of a new user; 0 shows every user with all that is known of them."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of Adam."""
    ema_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Momentum of the moving average of the weights that is evaluated and exported; 0 takes the last weights."""
    batch_size: Annotated[int, Field(ge=2)] | None = None
    """Rows per step over all replicas; by default 1,024; of fewer than 16,384 train rows a sixteenth, of more than
    two million about a thousandth up to 8,192: what a step costs beside its rows is then spread over more of them."""
    epochs: Annotated[int, Field(ge=1)] = 40
    """Passes over the train ratings at most."""
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    """Minutes after which training ends, refit included, with the best model so far; without limit by default."""
    eval_steps: Annotated[int, Field(ge=1)] = 250
    """Steps after which the model is evaluated, each time; of small data after every epoch."""
    patience: Annotated[int, Field(ge=1)] = 6
    """Evaluations in which neither NDCG@10 of eval users rises by 1 % of itself nor the RMSE of their ratings falls
    by 1 % (retrieval_weight 0: without a smaller eval loss), before training stops, but 1,000 steps at most, and not in
    the first pass over the rows, or its first 4,000 steps; of ranking and rating each the best state is kept."""
    refit_epochs: Annotated[int, Field(ge=0)] = 10
    """Passes over train and eval ratings, at most, with which the best model goes on before it is published, so that
    the latest ratings count; it is the model without them that is evaluated. 0 publishes that one."""
    refit_steps: Annotated[int, Field(ge=1)] = 1000
    """Steps of it, at most."""
    continue_steps: Annotated[int, Field(ge=1)] = 200
    """Steps at most, but for rounding, of training and of the refit each, where training goes on from a model."""
    continue_rate: Annotated[float, Field(gt=0)] = 0.3
    """Learning rate then, as a share of `learning_rate`."""
    max_new_movie_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the train ratings of movies that came after the last training from the start, above which one is due."""
    max_drift: Annotated[float, Field(gt=0)] = 0.25
    """Standard deviations by which any standardised feature may differ, in the mean, from what today's ratings would
    make of it, before a training from the start is due."""
    seed: int = 0
    """Seed of weights, shuffling and dropout."""
    shuffle_rows: Annotated[int, Field(ge=1)] = 100_000
    """Rows of the training input that are shuffled at a time."""
    strategy: Literal["none", "mirrored", "multi_worker"] = "none"
    """tf.distribute strategy: one device, all GPUs of one machine, or the workers of TF_CONFIG."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """What trains: a GPU if there is one, or the CPU though there is one. On a GPU steps are compiled by XLA."""
    resident_gib: Annotated[float, Field(ge=0)] | None = None
    """Rows of up to so many GiB are read once and trained on from the device's memory, others streamed from their
    shards at every pass; by default 0.4 of a GPU's memory, 1 without a GPU. Of one million rows there are 0.3."""

    @property
    def blend(self) -> tuple[float, ...]:
        """The weights of the embedding's parts, in the order of `components.trainer.blend.PARTS`."""
        return self.co_rating_weight, self.genre_weight, self.popularity_weight, self.new_user_popularity_weight

    def joined_dim(self, categories: int) -> int:
        """Length of what movies are ranked by: learned embedding, co-ratings, genres, popularity and what fills up."""
        if not self.retrieval_weight:
            return self.embedding_dim + 4  # The rating vector: perceptron, average, bias and what fills up.
        return self.embedding_dim + self.co_rating_dim + categories + 2

    def batch_size_of(self, rows: int | None) -> int:
        """Return the rows per step where there are so many train rows; None: it is not known."""
        if self.batch_size:
            return self.batch_size
        if rows is not None and rows < _BATCHES * SMALLEST_BATCH:
            return max(_power_of_two(rows // _BATCHES), 2)
        return min(max(_power_of_two((rows or 0) // 1000), SMALLEST_BATCH), LARGEST_BATCH)


def _power_of_two(number: int) -> int:
    """Round down to a power of two; 0 stays 0."""
    return 1 << number.bit_length() >> 1
