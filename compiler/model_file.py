"""Model files: load with distrust, keep weights mapped, save the same bytes for the same model.

A file from elsewhere is data: whatever is wrong with it ends in ``ModelError``. External data must lie
inside the model's folder, also through symbolic links, and must be as long as its shape says.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir

from tamis.compiler.errors import ModelError, TamisError
from tamis.compiler.limits import MODEL, NODES
from tamis.compiler.plain_file import what_is_at
from tamis.compiler.staging import write_error

MIN_OPSET = 7
NOWHERE = "left-out"
EXTERNAL_FROM = 1024
"""Weights of fewer bytes stay in the model file."""
INLINE_LIMIT = 1_500_000_000
"""Weights of this many bytes or more, together, go to a data file of their own (protobuf ends at 2 GiB)."""


def load_model(path: Path, *, max_nodes: int | None = None) -> ir.Model:
    """Load an ONNX model; weights in external files are mapped when they are first read.

    Args:
        path: The ``.onnx`` file.
        max_nodes: Refuse larger graphs. Default: ``limits.NODES``.

    Raises:
        ModelError: The file cannot be read, is not a valid ONNX model, or is out of our limits.
    """
    if (there := what_is_at(path)) != "a file":
        raise ModelError("no such model file", where=str(path), found="nothing there" if there == "nothing" else there)
    if (size := path.stat().st_size) > MODEL.most:
        raise ModelError(
            "the model file is too large",
            where=str(path),
            expected=f"at most {MODEL.most} bytes",
            found=f"{size} bytes",
            fix=MODEL.fix,
        )
    if size == 0:
        raise ModelError("the model file is empty", where=str(path), fix="export or copy it again")
    try:
        model = ir.load(path)
        _check_versions(model, path)
        _check_graph(model, path, NODES.most if max_nodes is None else max_nodes)
        _check_weights(model, path)
        check_valid(model, str(path))
    except TamisError:
        raise
    except Exception as error:  # protobuf, onnx and onnx_ir raise many kinds on malformed input
        raise ModelError(
            "not an ONNX model, or a damaged one", where=str(path), found=_brief(error), fix="export or copy it again"
        ) from error
    return model


def save_model(model: ir.Model, path: Path) -> list[Path]:
    """Write ``model`` to ``path``, deterministically.

    Weights go into the file while they are below ``INLINE_LIMIT`` together; otherwise those of 1 KiB or more
    go to ``<name>.data`` beside it, streamed. The model in memory is left as it was.

    Returns:
        The files written, the model first.

    Raises:
        OutputError, WriteError: The path cannot be written, or the disk is full.
    """
    try:
        if weight_bytes(model) < INLINE_LIMIT:
            path.write_bytes(model_bytes(model))
            return [path]
        data = path.with_name(f"{path.name}.data")
        ir.save(model, path, external_data=data.name, size_threshold_bytes=EXTERNAL_FROM)
        for _, tensor in initializers(model):
            if isinstance(tensor, ir.ExternalTensor):
                tensor.release()  # the mapping; it comes back when the weights are read again
    except OSError as error:
        raise write_error(error, path) from error
    return [path, data]


def model_bytes(model: ir.Model) -> bytes:
    """The serialized model with all weights inside; the same model gives the same bytes. For models below 2 GB."""
    with swapped(model, in_memory):
        data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data


@contextmanager
def swapped(
    model: ir.Model, replace: Callable[[ir.TensorProtocol], ir.TensorProtocol | None]
) -> Iterator[list[tuple[ir.Value, ir.TensorProtocol]]]:
    """Replace the tensors of initializers inside this block, for serializing the model another way.

    Args:
        model: Unchanged afterwards.
        replace: Gives the tensor to use instead, or None to keep the tensor.

    Yields:
        The (value, original tensor) pairs that were replaced.
    """
    originals: list[tuple[ir.Value, ir.TensorProtocol]] = []
    try:
        for value, tensor in initializers(model):
            instead = replace(tensor)
            if instead is not None:
                originals.append((value, tensor))
                value.const_value = instead
        yield originals
    finally:
        for value, tensor in originals:
            value.const_value = tensor


def in_memory(tensor: ir.TensorProtocol) -> ir.TensorProtocol | None:
    """External weights as tensors in memory; they stay mapped, not copied."""
    if not isinstance(tensor, ir.ExternalTensor):
        return None
    return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=tensor.name)


def reference_to(place: str, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
    """A stand-in that is written as a reference to ``place``, without the weights."""
    return ir.ExternalTensor(
        place, 0, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=str(tensor.name)
    )


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers, with those of subgraphs."""
    return sum(t.nbytes for _, t in initializers(model))


def initializers(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    """All initializers of the graph and its subgraphs, with their tensors."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value, value.const_value


def check_valid(model: ir.Model, where: str) -> None:
    """The ONNX checker on the structure of a model, without its weights.

    Raises:
        ModelError: The checker refuses the model.
    """
    try:
        onnx.checker.check_model(structure(model), full_check=False)
    except Exception as error:  # the checker's own class, and protobuf's when a model cannot be serialized
        raise ModelError(
            "the ONNX checker refuses the model", where=where, found=_brief(error), fix="export it again"
        ) from error


def structure(model: ir.Model) -> onnx.ModelProto:
    """The model's protobuf with large initializers of the main graph turned into graph inputs: small in most cases."""
    main = {id(v.const_value) for v in model.graph.initializers.values()}

    def large(tensor: ir.TensorProtocol) -> ir.TensorProtocol | None:
        outside = id(tensor) in main and tensor.nbytes >= EXTERNAL_FROM
        return reference_to(NOWHERE, tensor) if outside else in_memory(tensor)

    with swapped(model, large):
        proto = ir.to_proto(model)
    outside = [t for t in proto.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    inside = [t for t in proto.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
    inputs = {v.name for v in proto.graph.input}
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(inside)
    for tensor in outside:
        if tensor.name not in inputs:
            value = proto.graph.input.add(name=tensor.name)
            value.type.tensor_type.elem_type = tensor.data_type
            for size in tensor.dims:
                value.type.tensor_type.shape.dim.add(dim_value=size)
    return proto


def _check_versions(model: ir.Model, path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    if not model.ir_version or model.ir_version > onnx.IR_VERSION:
        raise ModelError(
            "an IR version that this tamis cannot read",
            where=str(path),
            expected=f"1 to {onnx.IR_VERSION}",
            found=str(model.ir_version or "none"),
            fix="upgrade the onnx package, or export the model for an older version",
        )
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    if opset is None and any(n.domain in ("", "ai.onnx") for n in model.graph.all_nodes()):
        raise ModelError("names no opset of the ONNX operators", where=str(path), fix="export the model again")
    if opset is not None and not MIN_OPSET <= opset <= newest:
        raise ModelError(
            "an ONNX opset that this tamis cannot read",
            where=str(path),
            expected=f"{MIN_OPSET} to {newest}",
            found=str(opset),
            fix="convert the model with onnx.version_converter, or export it again",
        )


def _check_graph(model: ir.Model, path: Path, max_nodes: int) -> None:
    if next(itertools.islice(model.graph.all_nodes(), max_nodes, None), None) is not None:
        raise ModelError("too many nodes", where=str(path), expected=f"at most {max_nodes}", fix=NODES.fix)
    if not model.graph.outputs:
        raise ModelError("the graph has no outputs", where=str(path), fix="export the model again")


def _check_weights(model: ir.Model, path: Path) -> None:
    """External data inside the folder and long enough; inline data as long as the shape says."""
    folder = path.parent.resolve()
    for value, tensor in tensors(model):
        where = f"{path}, tensor {value}"
        if any(d < 0 for d in tensor.shape.numpy()):
            raise ModelError("a weight has a negative size", where=where, found=str(tensor.shape))
        if not isinstance(tensor, ir.ExternalTensor):
            _check_values(tensor, where)
            continue
        location = Path(str(tensor.location))
        file = (path.parent / location).resolve()
        if location.is_absolute() or not file.is_relative_to(folder):
            raise ModelError(
                "external data outside the model's folder is refused",
                where=where,
                found=str(tensor.location),
                fix="move the data file beside the model",
            )
        if not file.is_file():
            raise ModelError("the file with external data is missing", where=where, found=str(tensor.location))
        end = (tensor.offset or 0) + tensor.nbytes
        if (tensor.offset or 0) < 0 or (tensor.length or tensor.nbytes) < tensor.nbytes or end > file.stat().st_size:
            raise ModelError(
                "the file with external data is too short",
                where=where,
                expected=f"{end} bytes",
                found=f"{file.stat().st_size} bytes in {tensor.location}",
                fix="copy the model with all its files again",
            )


def _check_values(tensor: ir.TensorProtocol, where: str) -> None:
    try:
        tensor.numpy()
    except Exception as error:  # NumPy's and onnx_ir's, of many kinds
        raise ModelError(
            "the values of a weight do not fit its shape",
            where=where,
            expected=str(tensor.shape),
            found=_brief(error),
            fix="export or copy the model again",
        ) from error


def tensors(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtocol]]:
    """Every tensor of a model with a name for messages: initializers, and attributes of nodes everywhere."""
    for value, tensor in initializers(model):
        yield str(value.name), tensor
    functions = (node for function in model.functions.values() for node in function.all_nodes())
    for node in itertools.chain(model.graph.all_nodes(), functions):
        for attribute in node.attributes.values():
            if attribute.type is ir.AttributeType.TENSOR and attribute.value is not None:
                yield f"{node.name or node.op_type}.{attribute.name}", attribute.value
            elif attribute.type is ir.AttributeType.TENSORS and attribute.value is not None:
                yield from ((f"{node.name or node.op_type}.{attribute.name}", t) for t in attribute.value)


def _brief(error: Exception) -> str:
    """First line of a library's message, cut to a readable length."""
    line = next((part.strip() for part in str(error).splitlines() if part.strip()), type(error).__name__)
    return line if len(line) <= 200 else f"{line[:200]}…"
