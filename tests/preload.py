"""What a forked process finds imported: everything that takes seconds, and nothing that has begun to work.

TensorFlow survives a fork only until it has made a session or an eager context; imports alone make none.
"""

import tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor  # noqa: F401
from tensorflow.python.eager import context

assert not context.context()._initialized
