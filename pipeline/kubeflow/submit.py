"""A compiled pipeline as a run on a Kubeflow Pipelines endpoint, followed to its end."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import yaml

from pipeline.config import sections
from pipeline.kubeflow import kfp_missing
from pipeline.kubeflow.parameters import RUNTIME_SECTIONS, config_parameter
from schemas.configuration import from_json, replace, to_json

SUCCEEDED = "SUCCEEDED"
_HEALTH = "/apis/v2beta1/healthz"
_TIMEOUT_S = 10.0
_LOG_IN = (
    "Pass --token (KFP_TOKEN) with a bearer token, for Identity-Aware Proxy an OIDC token of its client; --cookies "
    "(KFP_COOKIES) with the session's cookies where Dex logs in, authservice_session=...; or go around the login by "
    "kubectl port-forward"
)
_ENDED = (SUCCEEDED, "FAILED", "CANCELED", "SKIPPED")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run on the endpoint."""

    run_id: str
    url: str


def require_kfp() -> Any:
    """Return the kfp package.

    Raises:
      RuntimeError: It is not installed.
    """
    try:
        import kfp
    except ImportError as error:
        raise kfp_missing("submitting", error, "Or upload the compiled file on the endpoint's page") from None
    return kfp


class Endpoint:
    """A Kubeflow Pipelines 2 endpoint."""

    def __init__(self, host: str, token: str | None = None, cookies: str | None = None) -> None:
        """Connect.

        Args:
          host: URL of the endpoint.
          token: Bearer token, where the endpoint asks for one.
          cookies: Cookies of a session, where a login page gives them.

        Raises:
          RuntimeError: kfp is not installed, or what answers at the URL, if anything does, is not the API.
        """
        kfp = require_kfp()
        self._host = host.rstrip("/")
        _check_api(self._host, token, cookies)
        try:
            self._client = kfp.Client(host=self._host, existing_token=token, cookies=cookies)
        except Exception as error:  # kfp, its API client and urllib3 each have exceptions of their own.
            raise RuntimeError(f"{self._host} refuses the client: {_first_line(error)}") from error

    def submit(
        self,
        package: str,
        arguments: Mapping[str, Any],
        run_name: str,
        experiment: str,
        pipeline_root: str | None = None,
        enable_cache: bool = True,
    ) -> Run:
        """Start a run.

        Args:
          package: The compiled file.
          arguments: Run-time parameter -> value.
          run_name: Name of the run.
          experiment: Experiment of the run, made if there is none.
          pipeline_root: URI of the artifacts, in place of the compiled one.
          enable_cache: Whether unchanged steps are skipped.

        Raises:
          ValueError: The file is not there or is no pipeline, or a parameter is unknown.
          RuntimeError: The endpoint refuses.
        """
        spec = read_spec(package)
        known = spec["root"]["inputDefinitions"]["parameters"]
        if unknown := arguments.keys() - known.keys():
            raise ValueError(f"{package} has no parameter {min(unknown)!r}; it has {', '.join(sorted(known))}")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # kfp prints links of its own.
                run = self._client.create_run_from_pipeline_package(
                    package,
                    arguments=dict(arguments),
                    run_name=run_name,
                    experiment_name=experiment,
                    # The backend does not read the compiled one.
                    pipeline_root=pipeline_root or spec.get("defaultPipelineRoot"),
                    enable_caching=None if enable_cache else False,
                )
        except Exception as error:  # See above.
            raise RuntimeError(f"{self._host} refuses the run: {_first_line(error)}") from error
        if not run.run_id:
            raise RuntimeError(f"{self._host} took the run and named no id; look for {run_name!r} on its page")
        return Run(run.run_id, f"{self._host}/#/runs/details/{run.run_id}")

    def follow(
        self, run: Run, on_change: Callable[[str, str], None], poll_s: float = 5.0, timeout_s: float | None = None
    ) -> str:
        """Wait for the end of a run.

        Args:
          run: The run.
          on_change: Called with a step's name and its new state.
          poll_s: Seconds between two questions.
          timeout_s: Seconds after which to stop waiting; the run goes on.

        Returns:
          The run's last state, such as SUCCEEDED or FAILED.
        """
        states: dict[str, str] = {}
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            now = self._client.get_run(run.run_id)
            for task in (now.run_details.task_details if now.run_details else None) or []:
                if task.state and states.get(task.display_name) != task.state:
                    states[task.display_name] = task.state
                    on_change(task.display_name, task.state)
            if now.state in _ENDED or (deadline is not None and time.monotonic() > deadline):
                return now.state
            time.sleep(poll_s)


def _check_api(host: str, token: str | None, cookies: str | None) -> None:
    """Raise RuntimeError unless the API of Kubeflow Pipelines answers, with what is wrong and what to do.

    kfp's own client takes any page for the API, and a refusal for an endpoint that is not up yet.
    """
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if cookies:
        headers["Cookie"] = cookies
    try:
        answer = httpx.get(f"{host}{_HEALTH}", headers=headers, timeout=_TIMEOUT_S)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise RuntimeError(
            f"no Kubeflow Pipelines endpoint answers at {host}: {_first_line(error)}. Check the URL; from outside the "
            "cluster: kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80, and --endpoint http://localhost:8080"
        ) from error
    if answer.is_redirect or answer.status_code in (401, 403):
        where = f" (to {answer.headers.get('Location', 'nowhere')})" if answer.is_redirect else ""
        raise RuntimeError(f"{host} answered {answer.status_code}{where}: it wants to know who asks. {_LOG_IN}")
    if answer.status_code != httpx.codes.OK:
        raise RuntimeError(
            f"{host} answered {answer.status_code} to {_HEALTH}: it is not the API of Kubeflow Pipelines 2, or its "
            "path is missing, such as /pipeline"
        )
    try:
        is_api = isinstance(answer.json(), dict)
    except ValueError:
        is_api = False
    if not is_api:
        kind = answer.headers.get("Content-Type", "no content type").partition(";")[0]
        raise RuntimeError(f"{host} answered a page ({kind}) and not the API's JSON: a login page? {_LOG_IN}")


def read_spec(package: str) -> dict[str, Any]:
    """Read the pipeline's specification from a compiled file.

    Raises:
      ValueError: The file is not there or is no pipeline.
    """
    try:
        spec = next(iter(yaml.safe_load_all(pathlib.Path(package).read_text(encoding="utf-8"))))
        _ = spec["root"]["inputDefinitions"]["parameters"]
    except OSError as error:
        raise ValueError(
            f"cannot read {package}: {error.strerror}; compile the pipeline first (matinee compile)"
        ) from None
    except (yaml.YAMLError, KeyError, TypeError, StopIteration):
        raise ValueError(f"{package} is no compiled pipeline; make one with matinee compile") from None
    return spec


def changed_configs(package: str, settings: Sequence[str]) -> dict[str, str]:
    """Put single options into a compiled file's configuration.

    Args:
      package: The compiled file.
      settings: `section.option=value` each, the value as in YAML.

    Returns:
      Run-time parameter -> JSON of the whole section.

    Raises:
      ValueError: An option is not of this form or unknown, or a value is out of its range.
    """
    declared = read_spec(package)["root"]["inputDefinitions"]["parameters"]
    values: dict[str, dict[str, Any]] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        section, dot, option = name.partition(".")
        if not (equals and dot):
            raise ValueError(f"--set: {setting!r} is not of the form section.option=value, such as trainer.epochs=20")
        if section not in RUNTIME_SECTIONS:
            raise ValueError(f"--set: a run has no section {section!r}; expected one of {', '.join(RUNTIME_SECTIONS)}")
        if config_parameter(section) not in declared:
            raise ValueError(f"--set: {package} was compiled without the section {section!r}")
        try:
            values.setdefault(section, {})[option] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ValueError(f"--set: {value!r} is no value of {name}; write it as in YAML") from None
    classes = sections()
    changed = {}
    for section, given in values.items():
        parameter = config_parameter(section)
        compiled: Any = from_json(classes[section], declared[parameter]["defaultValue"])
        changed[parameter] = to_json(replace(compiled, given, f"--set {section}"))
    return changed


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
