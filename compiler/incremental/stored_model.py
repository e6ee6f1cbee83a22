"""Models in the cache: the graph as one file, each large weight as one of its own, so that steps share what they leave alone."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from tamis.compiler.cache.entry import BlobLostError
from tamis.compiler.manifest import FileRecord
from tamis.compiler.model_file import in_memory, initializers, reference_to, swapped, tensors

if TYPE_CHECKING:
    from tamis.compiler.cache.store import Store

GRAPH = "graph"
LARGE = 1 << 14
"""Weights of so many bytes or more are files of their own."""


@dataclass
class ModelStore:
    """Puts models into the cache and gets them back.

    Args:
        store: The cache.
    """

    store: Store
    _known: dict[int, tuple[weakref.ref[ir.TensorProtocol], FileRecord]] = field(default_factory=dict, init=False)
    """Weights that this process has put or got, by identity: clones of a model share them."""

    def new_bytes(self, model: ir.Model) -> int:
        """Bytes of the weights that ``put`` would have to look at; the others it has seen before."""
        large = (tensor for _, tensor in initializers(model) if tensor.nbytes >= LARGE)
        return sum(tensor.nbytes for tensor in large if not self._is_known(tensor))

    def put(self, model: ir.Model) -> dict[str, FileRecord]:
        """The files of a model, all of them in the cache now; the model is left as it was."""
        files: dict[str, FileRecord] = {}

        def instead(tensor: ir.TensorProtocol) -> ir.TensorProtocol | None:
            if tensor.nbytes < LARGE or tensor.dtype == ir.DataType.STRING:
                return in_memory(tensor)
            record = self._record(tensor)
            files[record.sha256] = record
            return reference_to(record.sha256, tensor)

        with swapped(model, instead):
            graph = ir.to_proto(model).SerializeToString(deterministic=True)
        return {GRAPH: self.store.add(graph), **files}

    def get(self, files: Mapping[str, FileRecord]) -> ir.Model:
        """The model of ``put``'s files; weights are mapped when they are first read.

        Raises:
            BlobLostError: A file is lost, or these are not the files of a model.
        """
        try:
            model: ir.Model = ir.from_proto(onnx.ModelProto.FromString(self.store.blob(files[GRAPH]).read_bytes()))
            for value, tensor in list(initializers(model)):
                if isinstance(tensor, ir.ExternalTensor):
                    value.const_value = self._mapped(tensor, files[str(tensor.location)])
        except BlobLostError:
            raise
        except Exception as error:  # protobuf and onnx_ir raise many kinds on what is no model
            raise BlobLostError(f"no model: {error}") from error
        strange = [
            name for name, tensor in tensors(model) if isinstance(tensor, ir.ExternalTensor) and not self._has(tensor)
        ]
        if strange:
            raise BlobLostError(f"{strange[0]} is not in the cache")
        return model

    def _record(self, tensor: ir.TensorProtocol) -> FileRecord:
        if self._is_known(tensor):
            return self._known[id(tensor)][1]
        data = np.ascontiguousarray(tensor.numpy()) if tensor.dtype.bitwidth >= 8 else None
        record = self.store.add(tensor.tobytes() if data is None else data.reshape(-1).view(np.uint8).data)
        self._remember(tensor, record)
        if isinstance(tensor, ir.ExternalTensor):
            tensor.release()
        return record

    def _is_known(self, tensor: ir.TensorProtocol) -> bool:
        known = self._known.get(id(tensor))
        return known is not None and known[0]() is tensor

    def _mapped(self, tensor: ir.ExternalTensor, record: FileRecord) -> ir.ExternalTensor:
        path = self.store.blob(record)
        found = ir.ExternalTensor(
            path.name, 0, record.bytes, tensor.dtype, shape=tensor.shape, name=str(tensor.name), base_dir=path.parent
        )
        self._remember(found, record)
        return found

    def _has(self, tensor: ir.ExternalTensor) -> bool:
        """Whether the tensor is a whole blob: a graph from elsewhere may name other files, or ask for more than there is."""
        record = self._known.get(id(tensor))
        return record is not None and record[0]() is tensor and record[1].bytes == tensor.nbytes

    def _remember(self, tensor: ir.TensorProtocol, record: FileRecord) -> None:
        self._known[id(tensor)] = (weakref.ref(tensor), record)
