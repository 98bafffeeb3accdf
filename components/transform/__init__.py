"""Transform: the preprocessing function of tf.Transform."""
