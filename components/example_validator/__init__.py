"""ExampleValidator that stops the run: TFX's, which only writes the anomalies down, made strict."""
