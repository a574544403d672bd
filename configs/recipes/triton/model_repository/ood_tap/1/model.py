"""Triton's Python backend: publish the embedding of each request, and hand its logits on unchanged."""

from __future__ import annotations

import json
import os

import triton_python_backend_utils as pb_utils

from monitor.client import EmbeddingPublisher


class TritonPythonModel:
    """One publisher an instance. Neither Kafka nor a request that is odd holds an answer up."""

    def initialize(self, args: dict[str, str]) -> None:
        """Connect behind the scenes; the environment goes before the parameters of config.pbtxt."""
        given = json.loads(args["model_config"])["parameters"]

        def setting(name: str) -> str:
            return os.environ.get(f"OOD_TAP_{name.upper()}") or given[name]["string_value"]

        self.stream = setting("stream")
        source = f"triton/{args['model_instance_name']}"
        self.publisher = EmbeddingPublisher(setting("kafka"), setting("topic"), source=source)

    def execute(self, requests: list) -> list:
        """Each request's rows are published under its id; the parameter ``tenant`` of a request names its stream."""
        answers = []
        for request in requests:
            logits = pb_utils.get_input_tensor_by_name(request, "logits")
            rows = pb_utils.get_input_tensor_by_name(request, "embedding").as_numpy()
            name, tenant = request.request_id(), json.loads(request.parameters() or "{}").get("tenant")
            several = len(rows) > 1
            ids = [f"{name}#{n}" if several else name for n in range(len(rows))] if name else None
            self.publisher.publish(rows, stream=str(tenant or self.stream), ids=ids)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("logits", logits.as_numpy())]))
        return answers

    def finalize(self) -> None:
        """Triton is being stopped: wait a little for what is on its way."""
        self.publisher.close(timeout=5)
