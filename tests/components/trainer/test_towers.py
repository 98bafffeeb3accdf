import keras
import numpy as np
import pytest
import tensorflow as tf

from components.trainer import residual_factors
from components.trainer.co_ratings import CoRatings
from components.trainer.config import TrainerConfig
from components.trainer.losses import Candidates, Negatives, sampled_softmax
from components.trainer.towers import LEANING, MovieTower, UserTower
from components.trainer.two_tower import TwoTower
from schemas import features as f
from schemas.data_spec import movielens
from schemas.numpy_tower import OPS
from schemas.tastes import Tastes

WIDTHS = f.lengths([*f.USER_INPUTS, *f.MOVIE_INPUTS], movielens().num_categories)


def batch(rows=12, seed=0):
    rng = np.random.default_rng(seed)
    inputs = {
        name: rng.normal(size=(rows, WIDTHS.get(name, 1))).astype(np.float32) for name in f.USER_INPUTS + f.MOVIE_INPUTS
    }
    inputs[f.MOVIE_ID] = rng.integers(0, 5, (rows, 1))
    inputs[f.MOVIE_TOKEN] = inputs[f.MOVIE_ID]
    inputs[f.USER_HISTORY_TOKENS] = rng.integers(0, 5, (rows, 6))
    inputs[f.USER_HISTORY_RATINGS] = (rng.integers(0, 11, (rows, 6)) / 2).astype(np.float32)
    inputs[f.MOVIE_LOG_COUNT] = rng.random((rows, 1)).astype(np.float32)
    inputs[f.MOVIE_SCALED_AVERAGE] = rng.uniform(-0.5, 0.5, (rows, 1)).astype(np.float32)
    return inputs, rng.uniform(-1, 1, (rows, 1)).astype(np.float32)


def config(*hidden_units, **kwargs):
    """A small configuration without dropout."""
    plain = {"embedding_dim": 4, "co_rating_dim": 3, "id_dim": 32, "dropout": 0.0, "id_dropout": 0.0}
    return TrainerConfig(hidden_units=hidden_units or (16, 8), **plain | kwargs)


def model(**kwargs):
    keras.utils.set_random_seed(1)
    return knowing(TwoTower(config(**kwargs), 4, movielens()))


def knowing(model, seed=3):
    """Tell a model what is known of its four movies and not trained."""
    rng = np.random.default_rng(seed)
    genres = (rng.random((5, movielens().num_categories)) < 0.3).astype(np.float32)
    factors = rng.normal(size=(2, 5, 3)).astype(np.float32)
    nobody = np.zeros((0, 3), np.float32), np.zeros(5, np.float32), 1.0, np.zeros(0, np.float32)
    ranked = CoRatings(*factors, *nobody) if model.config.retrieval_weight else None
    residuals = rng.uniform(-0.3, 0.3, (5, residual_factors.DIM)) if ranked else None
    model.learn_movies(genres, rng.uniform(3, 4, 5), np.array([0, 3, 4, 5, 6]), ranked, residuals)
    return model


@pytest.mark.parametrize("tower", [UserTower, MovieTower])
def test_embeddings_are_unit_vectors(tower):
    keras.utils.set_random_seed(1)
    vectors = tower(config(16, 16), 4, movielens())(batch()[0])
    assert set(vectors) == {tower.EMBEDDING, tower.RATING_VECTOR}
    # Learned embedding, co-ratings, genres, popularity and filling; the perceptron's answer, average, bias, filling,
    # genres and co-ratings again, and factors of residuals.
    genres = movielens().num_categories
    lengths = {tower.EMBEDDING: 4 + 3 + genres + 2, tower.RATING_VECTOR: 4 + 4 + genres + 3 + 8}
    assert config().joined_dim(20) == lengths[tower.EMBEDDING]
    for name, values in vectors.items():
        assert values.shape == (12, lengths[name])
        np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("score", "vector", "reach"), [("cosine", "embedding", 1), ("scaled_rating", "rating_vector", 2)]
)
def test_score_and_rating_are_cosines(score, vector, reach):
    outputs = model()(batch()[0])
    cosine = np.sum(np.asarray(outputs[f"user_{vector}"]) * np.asarray(outputs[f"movie_{vector}"]), axis=1)
    np.testing.assert_allclose(np.asarray(outputs[score])[:, 0], reach * cosine, atol=1e-6)


def test_without_retrieval_the_rating_vector_is_the_embedding():
    outputs = UserTower(config(16, retrieval_weight=0.0), 4, movielens())(batch()[0])
    np.testing.assert_array_equal(outputs["user_embedding"], outputs["user_rating_vector"])


def embed(tower, inputs):
    return np.asarray(tower(inputs)[tower.EMBEDDING])


def test_a_history_says_which_movies_and_how_much_they_were_liked():
    inputs, _ = batch()
    keras.utils.set_random_seed(1)
    tower = model().user_tower
    before = embed(tower, inputs)
    for changed in (
        {f.USER_HISTORY_TOKENS: (inputs[f.USER_HISTORY_TOKENS] + 1) % 5},
        {f.USER_HISTORY_RATINGS: np.maximum(inputs[f.USER_HISTORY_RATINGS] - 0.5, 0.5)},
    ):
        assert np.abs(embed(tower, inputs | changed) - before).max() > 1e-4
    # The latest count more. Padding does not, whatever movie it names.
    turned = {name: inputs[name][:, ::-1] for name in (f.USER_HISTORY_TOKENS, f.USER_HISTORY_RATINGS)}
    assert np.abs(embed(tower, inputs | turned) - before).max() > 1e-4
    padding = {f.USER_HISTORY_TOKENS: np.full((12, 3), 2), f.USER_HISTORY_RATINGS: np.zeros((12, 3), np.float32)}
    same = {name: np.concatenate([inputs[name], padding[name]], axis=1) for name in padding}
    np.testing.assert_allclose(embed(tower, inputs | same), before, atol=1e-6)
    nothing = {name: inputs[name][:, :0] for name in padding}
    assert np.isfinite(embed(tower, inputs | nothing)).all()


def test_training_hides_some_of_the_movies_ids():
    inputs, _ = batch(rows=400)
    keras.utils.set_random_seed(1)
    tower = MovieTower(config(16, id_dropout=0.3), 4, movielens())
    unnamed = inputs | {f.MOVIE_TOKEN: np.zeros((400, 1), int)}
    known, unknown, trained = (
        np.asarray(tower.learned(x, training)) for x, training in ((inputs, False), (unnamed, False), (inputs, True))
    )
    kept, hidden = (np.abs(trained - other).max(axis=1) < 1e-6 for other in (known, unknown))
    assert (kept | hidden).all()
    assert 0.2 < np.mean(hidden & ~kept) / np.mean(inputs[f.MOVIE_TOKEN] > 0) < 0.4


@pytest.mark.parametrize("tower", [UserTower, MovieTower])
def test_a_tower_round_trips_through_its_config(tower):
    original = tower(config(16, 8, dropout=0.1, l2=0.01), 4, movielens(), name="t")
    found = original.get_config()
    restored = tower.from_config(found)
    assert restored.get_config() == found
    assert restored.config == original.config
    assert (restored.config.hidden_units, restored.config.dropout) == ((16, 8), 0.1)
    assert (restored.name, restored.vocabulary_size) == ("t", 4)


def test_a_saved_model_gives_identical_outputs(tmp_path):
    inputs, _ = batch()
    original = model(retrieval_weight=0.3, temperature=0.1)
    expected = original(inputs)
    original.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    assert restored.get_config() == original.get_config()
    assert restored.config == original.config
    for side in ("user_tower", "movie_tower"):
        assert getattr(restored, side).get_config() == getattr(original, side).get_config()
    for name, value in restored(inputs).items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(expected[name]))


def test_without_retrieval_weight_the_loss_is_the_squared_error():
    inputs, label = batch()
    plain = model(retrieval_weight=0.0)
    outputs = plain(inputs)
    expected = np.mean((np.asarray(outputs["scaled_rating"]) - label) ** 2)
    assert float(plain.compute_loss(inputs, label, outputs)) == pytest.approx(expected, rel=1e-6)


def negatives_of(inputs, number=50):
    """Movies of other ids, so that none is an accidental hit."""
    catalog = {name: tf.constant(inputs[name][:5]) for name in (*f.MOVIE_INPUTS, f.MOVIE_TOKEN, f.MOVIE_LOG_COUNT)}
    return Negatives(catalog | {f.MOVIE_ID: tf.constant([[10], [11], [12], [13], [14]], tf.int64)}, number, 0.5)


def test_the_mixed_loss_adds_the_weighted_softmax(monkeypatch):
    """Rows of the best rating are all in the softmax, those of the worst are not; one negative, drawn beforehand."""
    inputs, _ = batch()
    label = np.where(np.arange(12) % 3 == 0, 1, -1).astype(np.float32)[:, None]
    mixed = model(retrieval_weight=0.25, temperature=0.2)
    mixed.negatives = negatives_of(inputs, 2)
    drawn = mixed.negatives.draw(mixed.seed)
    monkeypatch.setattr(Negatives, "draw", lambda self, seed: drawn)
    outputs = mixed(inputs)
    counts = [np.exp(inputs[f.MOVIE_LOG_COUNT][::3, 0]), np.expm1(drawn[f.MOVIE_LOG_COUNT][:, 0])]
    softmax = sampled_softmax(
        mixed.user_tower.learned(inputs)[::3],
        Candidates(
            mixed.movie_tower.learned(inputs)[::3],
            inputs[f.MOVIE_ID][::3, 0],
            mixed.negatives.log_q(tf.constant(counts[0])),
        ),
        Candidates(
            mixed.movie_tower.learned(drawn), drawn[f.MOVIE_ID][:, 0], mixed.negatives.log_q(tf.constant(counts[1]))
        ),
        0.2,
    )
    expected = np.mean((np.asarray(outputs["scaled_rating"]) - label) ** 2) + 0.25 * float(softmax)
    assert float(softmax) > 0.1
    assert float(mixed.compute_loss(inputs, label, outputs, training=False)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("unliked", "most", "rows"), [(0.0, None, 889), (0.5, None, 2444), (1.0, None, 4000), (0.0, 300, 300)]
)
def test_rows_enter_the_softmax_if_they_are_liked(monkeypatch, unliked, most, rows):
    """Labels are uniform in [-1, 1], of which 4 stars are at 5/9."""
    inputs, label = batch(rows=4_000)
    mixed = model(retrieval_weight=1.0, unliked_share=unliked, softmax_rows=most or 10_000)
    mixed.negatives = negatives_of(inputs)
    sizes = []
    learned = UserTower.learned
    monkeypatch.setattr(
        UserTower, "learned", lambda self, x, *rest: sizes.append(len(x[f.MOVIE_ID])) or learned(self, x, *rest)
    )
    mixed.compute_loss(inputs, label, mixed(inputs, training=True), training=True)
    assert sizes[0] == pytest.approx(rows, rel=0.1 if most is None else 0)


@pytest.mark.parametrize("retrieval_weight", [0.0, 1.0])
def test_the_rating_starts_from_average_and_what_the_history_lets_expect(retrieval_weight):
    """Without what the perceptrons add, it is their sum; in training, and without factors, the bias is expected."""
    inputs, _ = batch()
    inputs[f.MOVIE_GENRES] = (inputs[f.MOVIE_GENRES] > 1).astype(np.float32)
    plain = model(retrieval_weight=retrieval_weight)
    for tower in (plain.user_tower, plain.movie_tower):
        tower.rating_stack.layers[-1].kernel.assign(tf.zeros_like(tower.rating_stack.layers[-1].kernel))
    stars, tokens = inputs[f.USER_HISTORY_RATINGS], inputs[f.USER_HISTORY_TOKENS]
    rated = stars > 0
    averages = np.asarray(plain.user_tower.averages)
    bias = (2 * np.tanh((stars - averages[tokens]) / 2) * rated).sum(axis=1) / (rated.sum(axis=1) + 8)
    token = inputs[f.MOVIE_TOKEN][:, 0]
    average = np.where(
        token > 0, averages[token], f.RATING_CENTRE + f.RATING_HALF_RANGE * inputs[f.MOVIE_SCALED_AVERAGE][:, 0]
    )

    def found(training):
        answer = plain(inputs, training=training)["scaled_rating"]
        return f.RATING_CENTRE + f.RATING_HALF_RANGE * np.asarray(answer)[:, 0]

    if not retrieval_weight:
        np.testing.assert_allclose(found(False), average + bias, atol=1e-4)
        return
    user, tastes = plain.user_tower, Tastes(OPS, movielens())
    _, genres, shares, factors, residuals, variance = (np.asarray(table) for table in user.tables)
    of_factors = tastes.factor_direction(factors, residuals)[tokens]
    of_genres = tastes.genre_direction(genres, shares)[tokens]
    leaning = tastes.leaning(stars, averages[tokens], of_genres, of_factors, variance)
    of_movie = (np.asarray(table)[token] for table in (plain.movie_tower.factors, plain.movie_tower.residuals))
    direction = [tastes.genre_direction(inputs[f.MOVIE_GENRES], shares), tastes.factor_direction(*of_movie)]
    beyond = leaning[:, 0] - bias + (leaning[:, 1:] * np.concatenate(direction, axis=1)).sum(axis=1)
    expected = average + bias + (1 - tastes.acquaintance(stars)[:, 0] / 2) * beyond
    np.testing.assert_allclose(found(False), expected, atol=1e-4)
    inputs[LEANING] = np.asarray(user.leaning(inputs)) + 0.05  # What is there already is taken.
    more = 0.05 * (1 + np.concatenate(direction, axis=1).sum(axis=1))
    expected += (1 - tastes.acquaintance(stars)[:, 0] / 2) * more
    np.testing.assert_allclose(found(False), expected, atol=1e-4)
    own = f.RATING_CENTRE + f.RATING_HALF_RANGE * inputs[f.MOVIE_SCALED_AVERAGE][:, 0]
    np.testing.assert_allclose(found(True), own + bias, atol=1e-4)


def test_perceptrons_are_shown_no_more_of_a_history_in_serving_than_in_training():
    tower, (inputs, _) = model().user_tower, batch()
    rng = np.random.default_rng(4)
    for places, same in ((f.HISTORY_LENGTH + 1, True), (f.HISTORY_LENGTH, False)):
        long = dict(inputs)
        long[f.USER_HISTORY_TOKENS] = rng.integers(1, 5, (12, f.SERVED_HISTORY_LENGTH))
        long[f.USER_HISTORY_RATINGS] = (rng.integers(1, 11, (12, f.SERVED_HISTORY_LENGTH)) / 2).astype(np.float32)
        cut = long | {name: long[name][:, :places] for name in (f.USER_HISTORY_TOKENS, f.USER_HISTORY_RATINGS)}
        for vector in (tower.rating_vector, tower.learned):
            assert np.allclose(vector(long), vector(cut), atol=1e-6) == same


def test_dislikes_push_away_and_the_genres_that_are_liked_throughout_come_up():
    """Of four movies of two genres: likes of the one kind and dislikes of the other order them."""
    plain = model(temperature=1e6, new_user_popularity_weight=0.0)  # Neither what is learned nor popularity counts.
    genres = np.zeros((5, movielens().num_categories), np.float32)
    genres[[1, 2], movielens().categories.index("Horror")] = genres[
        [3, 4], movielens().categories.index("Children")
    ] = 1
    factors = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]], np.float32)
    nothing = np.zeros((0, 3), np.float32), np.zeros(5, np.float32), 1.0, np.zeros(0, np.float32)
    likes = np.array([0, 5, 5, 5, 5])
    residuals = np.zeros((5, residual_factors.DIM))
    plain.learn_movies(genres, np.full(5, 3.5), likes, CoRatings(factors, factors, *nothing), residuals)
    movies = {name: values[:4] for name, values in batch()[0].items()}
    movies |= {f.MOVIE_TOKEN: np.arange(1, 5)[:, None], f.MOVIE_GENRES: genres[1:]}
    users = {name: values[:2] for name, values in batch()[0].items()}
    users[f.USER_HISTORY_TOKENS] = np.array([[1, 3], [1, 3]])
    users[f.USER_HISTORY_RATINGS] = np.array([[5, 0.5], [0.5, 5]], np.float32)
    scores = embed(plain.user_tower, users) @ embed(plain.movie_tower, movies).T
    assert scores[0, 1] > 0.2 > -0.05 > scores[0, 3]
    np.testing.assert_allclose(scores[0], scores[1, [2, 3, 0, 1]], atol=0.02)
    assert scores[0, 1] > scores[1, 1] + 0.2


@pytest.mark.parametrize("name", ["popularity_weight", "new_user_popularity_weight"])
def test_the_weight_of_popularity_orders_by_it_if_it_is_large(name):
    inputs, _ = batch(rows=4)
    inputs |= {f.MOVIE_TOKEN: np.array([[1], [2], [3], [4]])}
    for weight, order in ((1e6, [3, 2, 1, 0]), (-1e6, [0, 1, 2, 3])):
        plain = model(**{name: weight})
        scores = embed(plain.user_tower, inputs) @ embed(plain.movie_tower, inputs).T
        assert np.argsort(-scores, axis=1).tolist() == [order] * 4


def test_a_batch_that_nobody_liked_has_no_softmax():
    inputs, label = batch()
    mixed = model(retrieval_weight=1.0)
    mixed.negatives = negatives_of(inputs)
    outputs = mixed(inputs)
    worst = np.full_like(label, -1)
    expected = np.mean((np.asarray(outputs["scaled_rating"]) - worst) ** 2)
    assert float(mixed.compute_loss(inputs, worst, outputs)) == pytest.approx(expected, rel=1e-6)


def test_a_penalty_on_the_weights_is_part_of_the_loss():
    inputs, label = batch()
    keras.utils.set_random_seed(1)
    penalised = TwoTower(config(16, l2=0.1, retrieval_weight=0.0), 4, movielens())
    outputs = penalised(inputs)
    kernels = [w for w in penalised.trainable_variables if w.name == "kernel"]
    expected = np.mean((np.asarray(outputs["scaled_rating"]) - label) ** 2) + 0.1 * sum(
        np.sum(np.asarray(w) ** 2) for w in kernels
    )
    assert float(penalised.compute_loss(inputs, label, outputs)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: UserTower(config(16, 0), 4, movielens()), "hidden_units"),
        (lambda: model(embedding_dim=1), "embedding_dim"),
        (lambda: model(temperature=0.0), "temperature"),
    ],
)
def test_impossible_models(build, message):
    with pytest.raises(ValueError, match=message):
        build()
