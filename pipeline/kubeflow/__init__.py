"""Kubeflow Pipelines: the same pipeline compiled for a cluster, and submitted to one."""
