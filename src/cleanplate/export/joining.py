"""Joining: the exported parts of a network put together to the files that users get. ONNX in, ONNX out; no torch.

Contract: `assembled` gives, by the name of its file,

    plate.onnx    plate, plate_depth -> f1 ... k1                   floats, then the plate's core
    frame.onnx    frame, f1 ... k1 -> answers                       floats, then the frame's core
    model.onnx    plate, frame, plate_depth -> answers              floats, shrink if too large, both cores, enlarge

Shrinking and enlarging stand in the branch of an If: a picture of the working size or less pays nothing for them.
The cores' weights are the whole model's, each stored once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, compose, helper

from cleanplate.inference.runtimes import FEATURES, PARTS

OPSET = 18
IR_VERSION = 10
"""What onnxruntime has read since 1.18, onnxruntime-web and OpenVINO since 2024."""

Shape = tuple[int | str, ...]


@dataclass
class Sheet:
    """A graph in the making."""

    nodes: list[NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)

    def add(self, part: ModelProto, name: str, inputs: Mapping[str, str]) -> dict[str, str]:
        """Place a part under a name of its own. inputs: its own -> what they are here. Returns its outputs likewise."""
        part = compose.add_prefix(part, f"{name}/")
        here = {f"{name}/{old}": new for old, new in inputs.items()}
        for node in part.graph.node:
            _rename(node, here)
            self.nodes.append(node)
        self.weights.extend(part.graph.initializer)
        return {one.name.removeprefix(f"{name}/"): one.name for one in part.graph.output}

    def model(self, inputs: Iterable[ValueInfoProto], outputs: Mapping[str, ValueInfoProto]) -> ModelProto:
        """The finished graph. outputs: what they are called here -> how they are called by users."""
        nodes = [
            *self.nodes,
            *(helper.make_node("Identity", [here], [there.name], name=there.name) for here, there in outputs.items()),
        ]
        nodes, weights = _once(nodes, self.weights)
        graph = helper.make_graph(nodes, "cleanplate", list(inputs), list(outputs.values()), weights)
        made = helper.make_model(graph, opset_imports=_opsets(nodes), producer_name="cleanplate")
        made.ir_version = IR_VERSION
        onnx.checker.check_model(made)
        return made


def assembled(cores: Mapping[str, ModelProto], parts: Mapping[str, ModelProto], floats: bool) -> dict[str, ModelProto]:
    """The files by their names (see the module's text). cores, parts: as `cores` and `parts` of tracing.py give them.

    floats: pictures are float32 in 0..1, in place of uint8.
    """
    made = {"model.onnx": _whole(cores, parts, floats)}
    if "pair" not in cores:
        made["plate.onnx"] = _plate(cores["plate"], floats)
        made["frame.onnx"] = _frame(cores["frame"], floats)
    return made


def _plate(core: ModelProto, floats: bool) -> ModelProto:
    sheet = Sheet()
    found = sheet.add(core, "core", {"plate": _floats(sheet, "plate", floats), "plate_depth": "plate_depth"})
    widths = {one.name: one.type.tensor_type.shape.dim[1].dim_value for one in core.graph.output}
    outputs = {found[f]: _value(f, TensorProto.FLOAT, ("n", widths[f], f"h{f[1:]}", f"w{f[1:]}")) for f in FEATURES}
    return sheet.model([_picture("plate", floats), _depth()], outputs)


def _frame(core: ModelProto, floats: bool) -> ModelProto:
    sheet = Sheet()
    given = {name: _laid_out(sheet, name) if name in PARTS else name for name in FEATURES}
    found = sheet.add(core, "core", {"frame": _floats(sheet, "frame", floats), **given})
    widths = {one.name: one.type.tensor_type.shape.dim[1].dim_value for one in core.graph.input}
    features = [_value(f, TensorProto.FLOAT, ("p", widths[f], f"h{f[1:]}", f"w{f[1:]}")) for f in FEATURES]
    outputs = {here: _value(name, TensorProto.FLOAT, ("n", "h", "w")) for name, here in found.items()}
    return sheet.model([_picture("frame", floats), *features], outputs)


def _whole(cores: Mapping[str, ModelProto], parts: Mapping[str, ModelProto], floats: bool) -> ModelProto:
    sheet = Sheet()
    given = {name: name for name in ("plate", "frame", "plate_depth")}
    fits = sheet.add(parts["fits"], "fits", {"frame": "frame"})["fits"]
    as_is, smaller = Sheet(), Sheet()
    read = [{name: _floats(one, name, floats) for name in ("plate", "frame")} for one in (as_is, smaller)]
    made = smaller.add(parts["smaller"], "smaller", {**given, **read[1]})
    chosen = {f"small_{name}": here for name, here in {**given, **read[0]}.items()}
    small = _either(sheet, fits, "working", (as_is, chosen), (smaller, made))
    small = {name: small[f"small_{name}"] for name in given}
    if "pair" in cores:
        found = sheet.add(cores["pair"], "pair", small)
    else:
        features = sheet.add(cores["plate"], "plate", {name: small[name] for name in ("plate", "plate_depth")})
        found = sheet.add(cores["frame"], "frame", {"frame": small["frame"], **features})
    maps = {name: found[name] for name in ("alpha", "behind", "front") if name in found}
    whole = {f"large_{name}": found[name] for name in ("alpha", "depth") if name in found}
    enlarge = Sheet()
    made = enlarge.add(parts["enlarge"], "enlarge", {"frame": "frame", **maps})
    large = _either(sheet, fits, "large", (Sheet(), whole), (enlarge, made))
    outputs = {large[o]: _value(o.removeprefix("large_"), TensorProto.FLOAT, ("n", "h", "w")) for o in whole}
    outputs |= {
        found[name]: _value(name, TensorProto.FLOAT, ("n", "working_h", "working_w"))
        for name in ("behind", "front")
        if name in found
    }
    return sheet.model([_picture("plate", floats), _picture("frame", floats), _depth()], outputs)


def _either(
    sheet: Sheet, fits: str, name: str, then: tuple[Sheet, Mapping[str, str]], other: tuple[Sheet, Mapping[str, str]]
) -> dict[str, str]:
    """Place an If on whether the picture fits. then, other: what is done, and what it calls each of the outputs."""
    branches: dict[str, Any] = {}
    for branch, (inside, source) in (("then", then), ("else", other)):
        outputs = {o: f"{name}/{branch}/{o}" for o in then[1]}
        last = [helper.make_node("Identity", [source[o]], [there]) for o, there in outputs.items()]
        values = [_value(there, TensorProto.FLOAT, None) for there in outputs.values()]
        graph = helper.make_graph([*inside.nodes, *last], f"{name}/{branch}", [], values, inside.weights)
        branches[f"{branch}_branch"] = graph
    outputs = {o: f"{name}/{o}" for o in then[1]}
    sheet.nodes.append(helper.make_node("If", [fits], list(outputs.values()), name=name, **branches))
    return outputs


def _floats(sheet: Sheet, name: str, floats: bool) -> str:
    """A picture as the cores take it, float32 in 0..255."""
    node = helper.make_node("Cast", [name], [f"{name}/float"], to=TensorProto.FLOAT)
    if floats:
        sheet.weights.append(onnx.numpy_helper.from_array(np.array(255, np.float32), f"{name}/white"))
        node = helper.make_node("Mul", [name, f"{name}/white"], [f"{name}/float"])
    sheet.nodes.append(node)
    return node.output[0]


def _laid_out(sheet: Sheet, name: str) -> str:
    """The same map. ONNX Runtime adds one to a convolution's sum only where a layer that it knows had it before."""
    node = helper.make_node("AveragePool", [name], [f"{name}/laid_out"], kernel_shape=[1, 1])
    sheet.nodes.append(node)
    return node.output[0]


def _picture(name: str, floats: bool) -> ValueInfoProto:
    return _value(name, TensorProto.FLOAT if floats else TensorProto.UINT8, ("n", "h", "w", 3))


def _depth() -> ValueInfoProto:
    return _value("plate_depth", TensorProto.FLOAT, ("n", "h", "w"))


def _value(name: str, kind: int, shape: Shape | None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    for i, one in enumerate(node.input):
        node.input[i] = names.get(one, one)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            _rename(inner, names)


def _once(nodes: list[NodeProto], weights: Sequence[TensorProto]) -> tuple[list[NodeProto], list[TensorProto]]:
    """Equal weights under one name."""
    kept: dict[tuple[int, tuple[int, ...], bytes], TensorProto] = {}
    names = {}
    for one in weights:
        first = kept.setdefault((one.data_type, tuple(one.dims), onnx.numpy_helper.to_array(one).tobytes()), one)
        names[one.name] = first.name
    for node in nodes:
        _rename(node, names)
    return nodes, list(kept.values())


def _opsets(nodes: Sequence[NodeProto]) -> list[onnx.OperatorSetIdProto]:
    others = {node.domain for node in nodes if node.domain}
    return [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in sorted(others))]
