"""Runs a compiled pipeline step by step, as Kubeflow Pipelines' driver and launcher do, without a cluster.

A step is the container's own arguments in a process with a clean environment and an empty working directory: a fork
with TFX imported, or for `REAL` the container's whole command line. It gets an ExecutorInput in place of `{{$}}` and is
known by its output file alone. Only what open-source Kubeflow Pipelines 2 implements is implemented: anything else in
the specification is an error.
"""

import dataclasses
import graphlib
import hashlib
import json
import pathlib
import subprocess
import sys
import time

import yaml

from tests import forked

REAL = "CuratedSchemaGen"
"""The step that runs with its own command line, imports and all."""
_TIMEOUT_S = 600
_TASK_KEYS = {"cachingOptions", "componentRef", "dependentTasks", "inputs", "retryPolicy", "taskInfo"}
_CONTAINER_KEYS = {"args", "command", "image", "resources"}


class StepFailed(RuntimeError):
    """A step's process ended with an error; `output` is what it printed."""

    def __init__(self, step: str, output: str) -> None:
        super().__init__(f"{step} failed:\n{output[-3000:]}")
        self.step, self.output = step, output


@dataclasses.dataclass
class Step:
    """What became of a step."""

    cached: bool
    seconds: float
    attempts: int
    artifacts: dict[str, dict]
    """Output key -> RuntimeArtifact."""


class Launcher:
    """Runs one pipeline, with a cache of its own."""

    def __init__(self, package: pathlib.Path, root: str, work: pathlib.Path, environment: dict[str, str] | None = None):
        """Read the package.

        Args:
          package: The compiled file.
          root: Pipeline root, a path or a URI.
          work: Directory for output files, logs and the cache.
          environment: Variables of the steps, as a cluster's secrets and config maps set them.
        """
        self.spec, *_ = yaml.safe_load_all(package.read_text())  # Kubernetes' part says nothing of processes.
        self._root, self._work = root, work
        self._environment = {
            # What an image has: the environment with the project installed first on PATH, a home, a language.
            "PATH": f"{pathlib.Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(work),
            "LANG": "C.UTF-8",
            **(environment or {}),
        }

    def run(self, run_id: str, **parameters) -> dict[str, Step]:
        """Run every task in the order of its dependencies.

        Args:
          run_id: Name of the run, new for each.
          **parameters: Run-time parameters.

        Raises:
          StepFailed: A step failed as often as its retry policy allows.
        """
        declared = self.spec["root"]["inputDefinitions"]["parameters"]
        assert parameters.keys() <= declared.keys()
        values = {name: declaration.get("defaultValue") for name, declaration in declared.items()} | parameters
        assert None not in values.values(), "a parameter has neither a default nor a value"
        tasks = self.spec["root"]["dag"]["tasks"]
        needs = {name: task.get("dependentTasks", []) for name, task in tasks.items()}
        steps: dict[str, Step] = {}
        for name in graphlib.TopologicalSorter(needs).static_order():
            assert tasks[name].keys() <= _TASK_KEYS, f"{name}: {tasks[name].keys() - _TASK_KEYS} is not implemented"
            steps[name] = self._step(run_id, name, tasks[name], values, steps)
        return steps

    def _step(self, run_id: str, name: str, task: dict, values: dict, steps: dict[str, Step]) -> Step:
        component = self.spec["components"][task["componentRef"]["name"]]
        (kind, container), *others = self.spec["deploymentSpec"]["executors"][component["executorLabel"]].items()
        assert (kind, others) == ("container", []), f"{name}: {kind} is not implemented"
        assert container.keys() <= _CONTAINER_KEYS, f"{name}: {container.keys() - _CONTAINER_KEYS} is not implemented"
        given = {key: _value(source, values) for key, source in task["inputs"].get("parameters", {}).items()}
        artifacts = {}
        for key, source in task["inputs"].get("artifacts", {}).items():
            producer = source["taskOutputArtifact"]
            assert producer["producerTask"] in task["dependentTasks"]
            artifacts[key] = steps[producer["producerTask"]].artifacts[producer["outputArtifactKey"]]
        outputs = component.get("outputDefinitions", {}).get("artifacts", {})

        cached = None
        if task.get("cachingOptions", {}).get("enableCache"):
            names = {key: artifact["name"] for key, artifact in artifacts.items()}
            content = json.dumps([given, names, outputs, container], sort_keys=True)
            cached = self._work / "cache" / f"{hashlib.sha256(content.encode()).hexdigest()}.json"
            if cached.exists():
                return Step(True, 0.0, 0, json.loads(cached.read_text()))

        begin = time.perf_counter()
        attempts = 1 + task.get("retryPolicy", {}).get("maxRetryCount", 0)
        for attempt in range(1, attempts + 1):
            try:
                made = self._execute(f"{run_id}/{name}", attempt, container, given, artifacts, outputs)
                break
            except StepFailed:
                if attempt == attempts:
                    raise
        if cached:
            cached.parent.mkdir(exist_ok=True)
            cached.write_text(json.dumps(made))
        return Step(False, time.perf_counter() - begin, attempt, made)

    def _execute(self, place: str, attempt: int, container: dict, given: dict, artifacts: dict, outputs: dict) -> dict:
        # A retried pod has a file system of its own and the same artifacts to write.
        directory = self._work / place / str(attempt)
        directory.mkdir(parents=True)
        output_file = directory / "outputs" / "executor_output.json"
        wanted = {
            key: {"name": f"{place}/{key}", "type": spec["artifactType"], "uri": f"{self._root}/{place}/{key}"}
            for key, spec in outputs.items()
        }
        executor_input = {
            "inputs": {
                "parameterValues": given,
                "artifacts": {key: {"artifacts": [artifact]} for key, artifact in artifacts.items()},
            },
            "outputs": {
                "artifacts": {key: {"artifacts": [artifact]} for key, artifact in wanted.items()},
                "outputFile": str(output_file),
            },
        }
        arguments = [part.replace("{{$}}", json.dumps(executor_input)) for part in container["args"]]
        empty = directory / "cwd"
        empty.mkdir()
        step = place.rsplit("/")[-1]
        python, *module = container["command"]
        assert (python, module[0]) == ("python", "-m")
        if step == REAL:
            done = subprocess.run(
                [python, *module, *arguments],
                cwd=empty,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_TIMEOUT_S,
            )
        else:
            done = forked.run(
                " ".join(module), *arguments, cwd=empty, environment=self._environment, timeout=_TIMEOUT_S
            )
        (directory / "log.txt").write_text(done.stdout)
        if done.returncode:
            raise StepFailed(step, done.stdout)
        found = json.loads(output_file.read_text())["artifacts"]
        return {key: artifact | found[key]["artifacts"][0] for key, artifact in wanted.items()}


def _value(source: dict, values: dict):
    if "componentInputParameter" in source:
        return values[source["componentInputParameter"]]
    return source["runtimeValue"]["constant"]
