import keras
import numpy as np
import pytest
import tensorflow as tf

from components.trainer.optimizer import FusedAdam

ARGUMENTS = {"learning_rate": 0.05, "use_ema": True, "ema_momentum": 0.9}
ROWS = 50


def trained(optimizer: keras.optimizers.Optimizer, steps: np.ndarray, compiled=False, dense=False) -> list[np.ndarray]:
    """Return what is trained and what the optimizer keeps, after steps of which each looks at some rows of a table."""
    rng = np.random.default_rng(0)
    table, kernel = (keras.Variable(rng.normal(size=shape).astype(np.float32)) for shape in ((ROWS, 8), (8, 3)))
    optimizer.build([table, kernel])

    @tf.function(jit_compile=compiled)
    def step(chosen):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.gather(table.value, chosen) @ kernel.value - 1.0))
        gradients = tape.gradient(loss, [table.value, kernel.value])
        optimizer.apply([tf.convert_to_tensor(each) if dense else each for each in gradients], [table, kernel])

    for chosen in tf.constant(steps):
        step(chosen)
    return [np.asarray(variable) for variable in (table, kernel, *optimizer.variables[2:])]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected) == 8, "two variables, their moments and averages"
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True], ids=["operations", "XLA"])
def test_it_computes_what_keras_does(compiled):
    rng = np.random.default_rng(1)
    steps = np.stack([rng.choice(ROWS, 12, replace=False) for _ in range(20)])
    expected = trained(keras.optimizers.Adam(**ARGUMENTS), steps, compiled)
    assert_same(trained(FusedAdam(**ARGUMENTS), steps, compiled), expected)


def test_gradients_of_the_same_row_are_one():
    """Keras' Adam adds the squares of each, where the square of their sum is meant."""
    steps = np.random.default_rng(1).integers(0, 5, (20, 12))
    expected = trained(keras.optimizers.Adam(**ARGUMENTS), steps, dense=True)
    assert_same(trained(FusedAdam(**ARGUMENTS), steps), expected)


def test_it_is_one_operation_a_variable():
    variable, optimizer = keras.Variable(np.ones((3, 2), np.float32)), FusedAdam()
    optimizer.build([variable])
    graph = tf.function(lambda: optimizer.apply([tf.ones((3, 2))], [variable])).get_concrete_function().graph
    touching = {op.type for op in graph.get_operations() if any(each.shape == (3, 2) for each in op.outputs)}
    assert touching <= {"Const", "Identity", "IdentityN"}, "nothing is computed beside it"
    assert [op.type for op in graph.get_operations()].count("ResourceApplyAdam") == 1
