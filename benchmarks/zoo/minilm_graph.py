"""The all-MiniLM-L6-v2 sentence encoder as an ONNX graph: 6 BERT layers, mean pooling, unit length.

Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
Transformers", 2020; Reimers and Gurevych, "Sentence-BERT", 2019. Inputs ``input_ids``, ``attention_mask``
and ``token_type_ids``, each ``int64 [N, T]`` with T up to 512; output ``embedding: float32 [N, 384]``. Attention
and GELU are written out in elementary operators, as exporters do; LayerNormalization is one node.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.graph_builder import GraphBuilder

LAYERS, HEADS, WIDTH, EPSILON = 6, 12, 384, 1e-12
HEAD = WIDTH // HEADS
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class MiniLm:
    """Builds the graph from the tensors ``name -> array`` of the safetensors file."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self.weights = weights
        self.graph = GraphBuilder()

    def save(self, path: Path) -> None:
        """Write the model."""
        x = self._embeddings()
        mask = self._node("Cast", ["attention_mask"], "mask", to=1)
        bias = self._node("Unsqueeze", [mask, self._ints("axes_12", 1, 2)], "mask_4d")
        bias = self._node("Sub", [self._real("one", 1.0), bias], "hidden_tokens")
        bias = self._node("Mul", [bias, self._real("minus_many", -10000.0)], "bias")
        for i in range(LAYERS):
            x = self._layer(x, bias, f"encoder.layer.{i}")
        self._pool(x, mask)
        inputs = {name: (np.int64, ("N", "T")) for name in INPUTS}
        self.graph.save(path, "minilm_l6", inputs, {"embedding": ("N", WIDTH)})

    def _embeddings(self) -> str:
        words = self._node("Gather", [self._weight("embeddings.word_embeddings.weight"), "input_ids"], "words")
        kinds = self._weight("embeddings.token_type_embeddings.weight")
        kinds = self._node("Gather", [kinds, "token_type_ids"], "kinds")
        length = self._node("Shape", ["input_ids"], "length", start=1, end=2)
        places = self._weight("embeddings.position_embeddings.weight")
        places = self._node("Slice", [places, self._ints("zero", 0), length, self._ints("axis_0", 0)], "places")
        x = self._node("Add", [self._node("Add", [words, kinds], "words_kinds"), places], "embedded")
        return self._norm(x, "embeddings.LayerNorm")

    def _layer(self, x: str, bias: str, name: str) -> str:
        inside = f"{name}.attention.self"
        query = self._heads(x, f"{inside}.query", [0, 2, 1, 3])
        key = self._heads(x, f"{inside}.key", [0, 2, 3, 1])
        value = self._heads(x, f"{inside}.value", [0, 2, 1, 3])
        scores = self._node("MatMul", [query, key], f"{inside}.products")
        scores = self._node("Div", [scores, self._real("root_head", math.sqrt(HEAD))], f"{inside}.scores")
        scores = self._node("Add", [scores, bias], f"{inside}.masked")
        weights = self._node("Softmax", [scores], f"{inside}.weights", axis=-1)
        mixed = self._node("MatMul", [weights, value], f"{inside}.mixed")
        mixed = self._node("Transpose", [mixed], f"{inside}.back", perm=[0, 2, 1, 3])
        mixed = self._node("Reshape", [mixed, self._ints("joined", 0, 0, WIDTH)], f"{inside}.joined")
        out = self._linear(mixed, f"{name}.attention.output.dense")
        x = self._norm(self._node("Add", [out, x], f"{inside}.sum"), f"{name}.attention.output.LayerNorm")
        hidden = self._gelu(self._linear(x, f"{name}.intermediate.dense"), name)
        out = self._linear(hidden, f"{name}.output.dense")
        return self._norm(self._node("Add", [out, x], f"{name}.sum"), f"{name}.output.LayerNorm")

    def _heads(self, x: str, name: str, order: list[int]) -> str:
        split = [self._linear(x, name), self._ints("split", 0, 0, HEADS, HEAD)]
        return self._node("Transpose", [self._node("Reshape", split, f"{name}.split")], f"{name}.heads", perm=order)

    def _gelu(self, x: str, name: str) -> str:
        erf = self._node("Div", [x, self._real("root_two", math.sqrt(2))], f"{name}.gelu.scaled")
        erf = self._node("Erf", [erf], f"{name}.gelu.erf")
        both = self._node("Add", [erf, self._real("one", 1.0)], f"{name}.gelu.plus")
        both = self._node("Mul", [x, both], f"{name}.gelu.twice")
        return self._node("Mul", [both, self._real("half", 0.5)], f"{name}.gelu")

    def _pool(self, x: str, mask: str) -> None:
        mask = self._node("Unsqueeze", [mask, self._ints("axis_2", 2)], "mask_3d")
        total = self._node(
            "ReduceSum", [self._node("Mul", [x, mask], "kept"), self._ints("axis_1", 1)], "total", keepdims=0
        )
        count = self._node("ReduceSum", [mask, self._ints("axis_1", 1)], "count", keepdims=0)
        mean = self._node("Div", [total, self._node("Max", [count, self._real("tiny", 1e-9)], "floored")], "mean")
        length = self._node("ReduceL2", [mean], "norm", axes=[-1], keepdims=1)
        self._node("Div", [mean, self._node("Max", [length, self._real("tinier", 1e-12)], "norm_floored")], "embedding")

    def _linear(self, x: str, name: str) -> str:
        weight = self.graph.weight(f"{name}.weight_t", self.weights[f"{name}.weight"].T)
        product = self._node("MatMul", [x, weight], f"{name}.product")
        return self._node("Add", [product, self._weight(f"{name}.bias")], name)

    def _norm(self, x: str, name: str) -> str:
        parts = [x, self._weight(f"{name}.weight"), self._weight(f"{name}.bias")]
        return self._node("LayerNormalization", parts, name, axis=-1, epsilon=EPSILON)

    def _node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        return self.graph.add(op, inputs, output, **attributes)

    def _weight(self, name: str) -> str:
        return self.graph.weight(name, self.weights[name])

    def _real(self, name: str, value: float) -> str:
        return self.graph.weight(name, np.array(value, np.float32))

    def _ints(self, name: str, *values: int) -> str:
        return self.graph.weight(name, np.array(values, np.int64))
