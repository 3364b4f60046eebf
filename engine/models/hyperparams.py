"""Read a speechbrain model folder without speechbrain's loader: plain values and an explicit list of classes only.

speechbrain reads ``hyperparams.yaml`` with hyperpyyaml, which instantiates whatever a tag names, follows attributes of the
results, parses text in brackets again with an unrestricted loader, and lets a pretrainer download files from anywhere. Here every
parsed node is checked, only the three parts of a voice encoder are instantiated, and weights are read as tensors.
"""

from __future__ import annotations

import ast
import importlib
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]

from gainstage.engine.models.weights import Forbidden, read_weights

if TYPE_CHECKING:
    import torch

PARTS = ("compute_features", "mean_var_norm", "embedding_model")
"""The parts of a voice encoder, by their keys in the file."""

BUILT = {
    "speechbrain.lobes.features.Fbank",
    "speechbrain.lobes.features.MFCC",
    "speechbrain.processing.features.InputNormalization",
    "speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN",
    "speechbrain.lobes.models.Xvector.Xvector",
    "speechbrain.lobes.models.ResNet.ResNet",
}
"""Classes that are instantiated."""

NAMED = {
    "torch.nn.ReLU",
    "torch.nn.LeakyReLU",
    "torch.nn.GELU",
    "torch.nn.SiLU",
    "torch.nn.Tanh",
    "torch.nn.BatchNorm1d",
    "torch.nn.BatchNorm2d",
    "speechbrain.nnet.activations.Swish",
    "speechbrain.lobes.models.ResNet.BasicBlock",
    "speechbrain.lobes.models.ResNet.SEBasicBlock",
}
"""Classes that are passed as arguments."""

IGNORED = {
    "speechbrain.lobes.models.ECAPA_TDNN.Classifier",
    "speechbrain.lobes.models.Xvector.Classifier",
    "speechbrain.lobes.models.ResNet.Classifier",
    "speechbrain.dataio.encoder.CategoricalEncoder",
    "speechbrain.utils.parameter_transfer.Pretrainer",
}
"""Classes that published folders name in addition; they are never instantiated."""

_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
_REFERENCE = re.compile(r"<([^<>]*)>")
_PATH = re.compile(r"\w+(?:\[\w+\])*")
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}

DEEPEST = 20
"""Deeper references and nested values are refused: they are circular, or made to exhaust memory."""

MOST_NODES = 20_000

LONGEST_TEXT, LONGEST_SUM = 10_000, 1_000
"""Characters of a text after its references are filled in, and of one that is computed."""


def read(text: str) -> Hyperparams:
    """Parse and check a ``hyperparams.yaml``. Raises :class:`Forbidden`, and ``ValueError`` for an invalid file."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"hyperparams.yaml cannot be parsed: {error}") from error
    if not isinstance(root, yaml.MappingNode) or root.tag not in _PLAIN:
        raise ValueError("hyperparams.yaml holds no table of names and values")
    _check(root)
    return Hyperparams({key.value: value for key, value in root.value})


def _check(root: yaml.Node) -> None:
    """Refuse every unknown tag, also in parts that are never read: such a file may be malicious."""
    seen, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if len(seen) > MOST_NODES:
            raise Forbidden(f"more than {MOST_NODES:,} values")
        kind, _, target = node.tag.partition(":") if node.tag.startswith("!") else ("", "", "")
        known = {"!new": BUILT | IGNORED, "!name": NAMED | BUILT | IGNORED}.get(kind, set())
        if node.tag not in _PLAIN and node.tag not in ("!ref", "!copy", "!tuple") and target not in known:
            raise Forbidden(node.tag.replace("tag:yaml.org,2002:", "!!"))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag not in _PLAIN:
                    raise Forbidden(f"{key.tag.replace('tag:yaml.org,2002:', '!!')} as a key")
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)


class Hyperparams:
    """The checked nodes by name. :meth:`value` computes them and instantiates listed classes; one object per node."""

    def __init__(self, nodes: Mapping[str, yaml.Node]) -> None:
        self.nodes = nodes
        self._made: dict[int, Any] = {}

    def value(self, key: str) -> Any:
        """The value of a key. Raises ``KeyError`` when there is no such key, :class:`Forbidden`, ``ValueError``."""
        return self._value(self.nodes[key], 0)

    def _value(self, node: yaml.Node, depth: int) -> Any:
        if depth > DEEPEST:
            raise Forbidden(f"values nested deeper than {DEEPEST}")
        if id(node) not in self._made:
            self._made[id(node)] = self._computed(node, depth + 1)
        return self._made[id(node)]

    def _computed(self, node: yaml.Node, depth: int) -> Any:
        kind, _, target = node.tag.partition(":") if node.tag.startswith("!") else ("", "", "")
        if kind in ("!ref", "!copy"):
            return self._referred(node, depth)
        if kind == "!tuple":
            return _tuple(node.value) if isinstance(node, yaml.ScalarNode) else tuple(self._sequence(node, depth))
        if kind == "!name":
            if target not in NAMED:
                raise Forbidden(f"!name:{target} as a value")
            if node.value:
                raise Forbidden(f"arguments of !name:{target}")
            return _class(target)
        if kind == "!new":
            if target not in BUILT:
                raise Forbidden(f"!new:{target} as a value")
            arguments = self._sequence(node, depth) if isinstance(node, yaml.SequenceNode) else []
            options = self._mapping(node, depth) if isinstance(node, yaml.MappingNode) else {}
            return _class(target)(*arguments, **options)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, depth)
        return yaml.SafeLoader("").construct_object(node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        return {key.value: self._value(value, depth) for key, value in node.value}

    def _sequence(self, node: yaml.SequenceNode, depth: int) -> list[Any]:
        return [self._value(value, depth) for value in node.value]

    def _referred(self, node: yaml.Node, depth: int) -> Any:
        """Resolve references: ``<key>`` or ``<key[part]>`` alone gives that value; inside other text, text or plain arithmetic."""
        text = str(node.value)
        if whole := _REFERENCE.fullmatch(text):
            return self._value(self.node_at(whole[1]), depth)
        filled = self._filled(text, depth)
        try:
            return _computed(ast.parse(filled, mode="eval").body) if len(filled) <= LONGEST_SUM else filled
        except (SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError):
            return filled

    def _filled(self, text: str, depth: int) -> str:
        """A text with the plain values that its references name. References to references would double it again and again."""
        parts, size, at = [], 0, 0
        for match in _REFERENCE.finditer(text):
            value = self._value(self.node_at(match[1]), depth)
            if not isinstance(value, (str, int, float, bool, type(None))):
                raise Forbidden(f"the reference <{match[1]}> inside a text, which is no plain value")
            parts += [text[at : match.start()], str(value)]
            size, at = size + len(parts[-2]) + len(parts[-1]), match.end()
            if size > LONGEST_TEXT:
                break
        parts.append(text[at:])
        if size + len(parts[-1]) > LONGEST_TEXT:
            raise Forbidden(f"a text of more than {LONGEST_TEXT:,} characters")
        return "".join(parts)

    def node_at(self, path: str) -> yaml.Node:
        """The node that a reference names."""
        if not _PATH.fullmatch(path):
            raise Forbidden(f"the reference <{path}>")
        first, *parts = path.replace("]", "").split("[")
        node = self.nodes.get(first)
        for part in parts:
            node = next((v for k, v in node.value if k.value == part), None) if isinstance(node, yaml.MappingNode) else None
        if node is None:
            raise ValueError(f"the reference <{path}> leads nowhere")
        return node

    def weights_of(self, part: str, folder: Path) -> Path | None:
        """The weight file of a part, always in ``folder`` whatever path the pretrainer names; None when there is none."""
        pretrainer = self.nodes.get("pretrainer")
        entries = {key.value: value for key, value in pretrainer.value} if isinstance(pretrainer, yaml.MappingNode) else {}
        loadables = entries.get("loadables")
        for key, value in loadables.value if isinstance(loadables, yaml.MappingNode) else ():
            if value.tag == "!ref" and value.value == f"<{part}>":
                paths = entries.get("paths")
                places = {k.value: v.value for k, v in paths.value} if isinstance(paths, yaml.MappingNode) else {}
                name = str(places.get(key.value, f"{key.value}.ckpt")).rpartition("/")[2]
                return folder / name
        return None


def _tuple(text: str) -> tuple[Any, ...]:
    try:
        return tuple(ast.literal_eval(text[: LONGEST_SUM + 1]))
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"hyperparams.yaml has a tuple that cannot be read: {text[:60]}") from error


def _class(target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _computed(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_computed(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        return _ARITHMETIC[type(node.op)](_computed(node.left), _computed(node.right))
    raise TypeError("not plain arithmetic")


def build_encoder(text: str, folder: Path, device: str) -> torch.nn.Module:
    """The three parts of a voice encoder as a module with ``mods``, with weights from ``folder``, on ``device``.

    Call it inside :func:`gainstage.engine.models.quiet.importing`. Raises :class:`Forbidden`, ``ValueError`` and PyTorch's errors
    for broken files.
    """
    import torch
    from speechbrain.utils.checkpoints import hook_on_loading_state_dict_checkpoint

    values = read(text)
    for part in PARTS:
        if part not in values.nodes:
            raise ValueError(f"hyperparams.yaml has no {part}")
    parts = {part: values.value(part) for part in PARTS}
    for part, module in parts.items():
        if not isinstance(module, torch.nn.Module):
            raise ValueError(f"{part} of hyperparams.yaml is no module")
        file = values.weights_of(part, folder)
        if part != "embedding_model" and (file is None or not file.exists()):
            continue
        if file is None:
            raise ValueError("hyperparams.yaml does not say which file holds the weights of embedding_model")
        state = read_weights(file)
        if part == "mean_var_norm":
            module._load_statistics_dict(state)  # type: ignore[operator]
            continue
        missing, _ = module.load_state_dict(hook_on_loading_state_dict_checkpoint(state), strict=False)
        if missing:
            raise ValueError(f"{file.name} lacks {len(missing)} of the weights of {part}, among them {missing[0]}")
    encoder = torch.nn.Module()
    encoder.mods = torch.nn.ModuleDict(parts)
    encoder.requires_grad_(False)
    return encoder.eval().to(device)
