"""A double of TensorFlow Serving for tests: its REST and gRPC protocols over models loaded by the session loader.

It is not TensorFlow Serving. It answers what the clients of this project ask (predict with `inputs` or `instances`,
the status of a version), with the messages and statuses of the original, loads every version under a base path when it
is first asked for, and can be told to answer late, with another version, or not at all. The same tests run against a
real `tensorflow_model_server` where there is one.
"""

import base64
import contextlib
import json
import pathlib
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_PATH = re.compile(r"/v1/models/(\w+)/versions/(\d+)(:predict)?")
_AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


class NotFoundError(Exception):
    pass


class Model:
    """One version, as the C++ loader sees it."""

    def __init__(self, directory):
        self._graph = tf.Graph()
        with self._graph.as_default():
            self._session = tf.compat.v1.Session(graph=self._graph)
            self._signatures = tf.compat.v1.saved_model.loader.load(
                self._session, ["serve"], str(directory)
            ).signature_def

    def predict(self, signature, inputs):
        definition = self._signatures[signature]
        if set(inputs) != set(definition.inputs):
            raise ValueError(f"inputs are {sorted(inputs)}, expected {sorted(definition.inputs)}")
        feeds = {
            info.name: np.asarray(inputs[name], tf.dtypes.as_dtype(info.dtype).as_numpy_dtype)
            for name, info in definition.inputs.items()
        }
        return self._session.run({name: info.name for name, info in definition.outputs.items()}, feeds)


class TfServingDouble:
    """The server: one REST and one gRPC port on loopback."""

    def __init__(self, base_path, name="user_tower"):
        self.base_path, self.name = pathlib.Path(base_path), name
        self.delay_s = 0.0
        """Every answer is this late."""
        self.hidden = set()
        """Versions that are not loaded yet."""
        self.answer_version = None
        """Version whose tower answers, whatever was asked for: a mis-deployed server."""
        self.grpc_options = []
        """Of its gRPC server, such as the age at which it ends a connection."""
        self.requests = 0
        self._models, self._lock = {}, threading.Lock()
        self._rest_port = self._grpc_port = 0

    @property
    def rest_url(self):
        return f"http://127.0.0.1:{self._rest_port}"

    @property
    def grpc_url(self):
        return f"grpc://127.0.0.1:{self._grpc_port}"

    def start(self):
        """Start, after a stop on the same ports."""
        self._rest = _RestServer(("127.0.0.1", self._rest_port), self)
        self._rest_port = self._rest.server_address[1]
        threading.Thread(target=self._rest.serve_forever, args=(0.02,), daemon=True).start()
        self._grpc = grpc.server(ThreadPoolExecutor(4), options=self.grpc_options)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(self), self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Status(self), self._grpc)
        self._grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{self._grpc_port}")
        self._grpc.start()
        return self

    def stop(self):
        """Die: open connections are cut."""
        self._rest.shutdown()
        self._rest.server_close()
        self._rest.cut()
        self._grpc.stop(None).wait()

    @contextlib.contextmanager
    def running(self):
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def model(self, name, version):
        self.requests += 1
        time.sleep(self.delay_s)
        directory = self.base_path / str(version)
        if name != self.name or version in self.hidden or not (directory / "saved_model.pb").exists():
            raise NotFoundError(f"Servable not found for request: Specific({name}, {version})")
        with self._lock:
            actual = self.answer_version or version
            if actual not in self._models:
                self._models[actual] = Model(self.base_path / str(actual))
            return self._models[actual], actual


class _RestServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, double):
        self.double, self._connections = double, []
        super().__init__(address, _Rest)

    def get_request(self):
        connection = super().get_request()
        self._connections.append(connection[0])
        return connection

    def cut(self):
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        """A connection that was cut is no news."""


class _Rest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self._handle(self._status)

    def do_POST(self):
        self._handle(self._predict)

    def _handle(self, answer):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match = _PATH.fullmatch(self.path)
        try:
            if not match:
                raise ValueError(f"Malformed request: {self.command} {self.path}")
            self._reply(200, answer(match[1], int(match[2]), body))
        except NotFoundError as error:
            self._reply(404, {"error": str(error)})
        except (ValueError, KeyError) as error:
            self._reply(400, {"error": str(error)})

    def _status(self, name, version, _):
        self.server.double.model(name, version)
        status = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": str(version), "state": "AVAILABLE", "status": status}]}

    def _predict(self, name, version, body):
        request = json.loads(body)
        model, _ = self.server.double.model(name, version)
        columns = "inputs" in request
        if columns:
            inputs = request["inputs"]
        else:
            rows = request["instances"]
            inputs = {key: [_plain(row[key]) for row in rows] for key in rows[0]}
        outputs = model.predict(request.get("signature_name", "serving_default"), inputs)
        values = {key: value.tolist() for key, value in outputs.items()}
        if columns:
            return {"outputs": next(iter(values.values())) if len(values) == 1 else values}
        if len(values) == 1:
            return {"predictions": next(iter(values.values()))}
        return {"predictions": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]}

    def _reply(self, status, answer):
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def _plain(value):
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, double):
        self._double = double

    def Predict(self, request, context):
        spec = request.model_spec
        try:
            model, version = self._double.model(spec.name, spec.version.value)
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            outputs = model.predict(spec.signature_name or "serving_default", inputs)
        except NotFoundError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except (ValueError, KeyError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answer = predict_pb2.PredictResponse()
        answer.model_spec.CopyFrom(spec)
        answer.model_spec.version.value = version
        for name, value in outputs.items():
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return answer


class _Status(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, double):
        self._double = double

    def GetModelStatus(self, request, context):
        spec = request.model_spec
        try:
            self._double.model(spec.name, spec.version.value)
        except NotFoundError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        answer = get_model_status_pb2.GetModelStatusResponse()
        answer.model_version_status.add(version=spec.version.value, state=_AVAILABLE)
        return answer
