"""Macht den Rechengraphen eines iNNvestigate-Analyzers schnell, ohne sein Ergebnis zu ändern.

iNNvestigate baut seine Regeln allgemein: Es rechnet jede Faltung ein zweites Mal ohne Aktivierung und zerlegt auch
Eingaben in einen positiven und einen negativen Teil, die nach einem ReLU nur positiv sein können. Zwei Schritte sparen
diese Arbeit:

1. Aus Variablen werden Eingaben. Dann erkennt TensorFlow doppelte Rechnungen und führt sie einmal aus.
2. Was beweisbar null ist (der negative Teil nach einem ReLU und alles, was nur daraus entsteht), entfällt.
"""

import numpy as np
import tensorflow as tf

# Rechnungen, die aus einer Null als erster Eingabe wieder eine Null machen.
_LINEAR = ("Conv2D", "MatMul", "Identity", "Reshape")
# Rechnungen, die das Vorzeichen ihrer ersten Eingabe behalten.
_SIGN_KEEPING = ("MaxPool", "AvgPool", "Mean", "Reshape", "Identity")


def simplified(graph, outputs: list[str], weights=()):
    """GraphDef bis zu den Operationen ``outputs``, ohne Nullen.

    Die Variablen ``weights`` werden zu Eingaben gleichen Namens: Was hier gestrichen wird, gilt für beliebige Werte. So
    braucht auch niemand Speicher für Werte, die gleich wieder verschwinden.

    Args:
        graph: tf.Graph.
        outputs: Namen der Operationen, deren Werte gefragt sind.
        weights: Namen der Variablen, von denen sie abhängen.

    Raises:
        ValueError: wenn das Ergebnis noch von anderen Variablen abhängt.
    """
    definition = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), outputs)
    others = {node.name for node in definition.node if node.op == "VarHandleOp"} - set(weights)
    if others:
        raise ValueError(f"Der Graph hängt auch von {', '.join(sorted(others))} ab.")
    for node in definition.node:
        if node.op == "VarHandleOp":
            given = tf.compat.v1.NodeDef(name=node.name, op="Placeholder")
            given.attr["dtype"].CopyFrom(node.attr["dtype"])
            given.attr["shape"].CopyFrom(node.attr["shape"])
        elif node.op == "ReadVariableOp":
            given = tf.compat.v1.NodeDef(name=node.name, op="Identity", input=node.input)
            given.attr["T"].CopyFrom(node.attr["dtype"])
        else:
            continue
        node.CopyFrom(given)
    return Simplifier(definition).run(outputs)


class Simplifier:
    """Streicht aus einem GraphDef, was beweisbar null ist.

    Args:
        graph: GraphDef ohne Variablen; er wird verändert.
    """

    def __init__(self, graph):
        self._graph = graph
        self._nodes = {node.name: node for node in graph.node}
        self._sign: dict[str, str] = {}

    def run(self, outputs: list[str]):
        """Der vereinfachte GraphDef bis zu den Operationen ``outputs``; deren Namen bleiben."""
        aliases = {}
        for node in self._graph.node:
            replacement = self._replacement(node)
            if replacement:
                aliases[node.name] = replacement
        for node in self._graph.node:
            for position, name in enumerate(node.input):
                while name in aliases:
                    name = aliases[name]
                node.input[position] = name
        for name in outputs:
            if name in aliases:
                node = self._nodes[name]
                node.op = "Identity"
                del node.input[:]
                node.input.append(aliases[name])
        return tf.compat.v1.graph_util.extract_sub_graph(self._graph, outputs)

    def _inputs(self, node) -> list:
        """Knoten, deren Werte ``node`` liest."""
        names = [name.split(":")[0] for name in node.input if not name.startswith("^")]
        return [self._nodes[name] for name in names]

    def _replacement(self, node) -> str | None:
        """Name des Werts, der ``node`` gleicht; schreibt Summen mit einem bloßen Schwellenwert um."""
        if node.op == "Mul" and self._masked_by(node, "Greater") and self._is(self._inputs(node)[0], "nonnegative"):
            return node.input[0]
        if node.op not in ("Add", "AddV2"):
            return None
        parts = self._inputs(node)
        for kept, dropped in ((0, 1), (1, 0)):
            if self._is(parts[dropped], "zero"):
                return node.input[kept]
            if parts[dropped].op == "BiasAdd" and self._is(self._inputs(parts[dropped])[0], "zero"):
                bias, value = parts[dropped], node.input[kept]
                node.CopyFrom(tf.compat.v1.NodeDef(name=node.name, op="BiasAdd", attr=bias.attr))
                node.input.extend([value, bias.input[1]])
                return None
        return None

    def _masked_by(self, node, comparison: str) -> bool:
        """Ist ``node`` das Produkt x · (x > 0) oder x · (x < 0)?"""
        parts = self._inputs(node)
        if len(parts) != 2 or parts[1].op != "Cast":
            return False
        compared = self._inputs(parts[1])[0]
        if compared.op != comparison:
            return False
        value, border = self._inputs(compared)
        return value.name == parts[0].name and border.op == "Const" and not np.any(_constant(border))

    def _is(self, node, sign: str) -> bool:
        found = self._sign_of(node)
        return found == sign or (sign == "nonnegative" and found == "zero")

    def _sign_of(self, node) -> str:
        """„zero“, „nonnegative“ oder „“ (unbekannt), bewiesen aus den Eingaben."""
        if node.name not in self._sign:
            self._sign[node.name] = ""  # hält Kreise auf
            self._sign[node.name] = self._prove(node)
        return self._sign[node.name]

    def _prove(self, node) -> str:
        if node.op == "Relu":
            return "nonnegative"
        parts = self._inputs(node)
        if node.op == "Mul":
            if any(self._is(part, "zero") for part in parts):
                return "zero"
            if self._masked_by(node, "Less") and self._is(parts[0], "nonnegative"):
                return "zero"
            return "nonnegative" if self._masked_by(node, "Greater") else ""
        if node.op in ("Add", "AddV2"):
            return "zero" if all(self._is(part, "zero") for part in parts) else ""
        if node.op in _LINEAR and self._is(parts[0], "zero"):
            return "zero"
        return "nonnegative" if node.op in _SIGN_KEEPING and self._is(parts[0], "nonnegative") else ""


def _constant(node) -> np.ndarray:
    return tf.make_ndarray(node.attr["value"].tensor)
