"""Antworten zu 02_VGG16."""

import numpy as np
from scipy.signal import correlate2d

MEAN = np.array([103.939, 116.779, 123.68])


def convolution(image, kernel, bias, mode="same", **options):
    return correlate2d(image, kernel, mode=mode, **options) + bias


def count(channels, size, bias="Ausgang", square=True, inputs=True):
    total = 0
    for i, o in zip(channels, channels[1:], strict=False):
        weights = (size * size if square else size) * (i if inputs else 1) * o
        total += weights + {"Ausgang": o, "Eingang": i, "": 0}[bias]
    return total


def field_backwards(layers):
    """Von hinten gerechnet: Wie viele Eingänge braucht ein Ausgang?"""
    needed = 1
    for size, stride in reversed(layers):
        needed = (needed - 1) * stride + size
    return needed


def field_early(layers):
    seen, jump = 1, 1
    for size, stride in layers:
        jump = jump * stride
        seen = seen + (size - 1) * jump
    return seen


def preprocess_channelwise(image):
    red, green, blue = (image[..., k].astype(np.float64) for k in range(3))
    return np.stack([blue - 103.939, green - 116.779, red - 123.68], axis=-1)


def head(features, hidden, output, relu=True, softmax=False, cut=False, bias=1):
    z = np.einsum("nf,fh->nh", features.reshape(features.shape[0], -1), hidden[0]) + bias * hidden[1]
    z = np.clip(z, 0, None) if relu else z
    logits = z @ output[0] + bias * output[1]
    if softmax:
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return np.clip(logits, 0, None) if cut else logits


def head_flattens_all(features, hidden, output):
    flat = np.resize(features.ravel(), len(hidden[0]))
    return np.maximum(flat @ hidden[0] + hidden[1], 0) @ output[0] + output[1]


ANSWERS = {
    "2.1": (
        convolution,
        [
            (lambda i, k, b: convolution(i, k, b, "valid"), "kleiner als das Bild"),
            (lambda i, k, b: convolution(i, k, 0), "Bias fehlt"),
            (lambda i, k, b: correlate2d(i, k, "same") + 9 * b, "neunmal"),
            (lambda i, k, b: convolution(i, np.flip(k), b), "gespiegelt"),
            (lambda i, k, b: convolution(i, k.T, b), "vertauscht"),
            (lambda i, k, b: np.maximum(convolution(i, k, b), 0), "ReLU"),
            (lambda i, k, b: convolution(i, k, b, boundary="wrap"), "nur am Rand nicht"),
        ],
    ),
    "2.2": (
        count,
        [
            (lambda c, k: count(c, k, bias=""), "Biaswerte fehlen"),
            (lambda c, k: count(c, k, square=False), "nur eine Seite"),
            (lambda c, k: count(c, k, inputs=False), "Eingangskanäle fehlen"),
            (lambda c, k: count(c, k, bias="Eingang"), "je Eingang"),
            (lambda c, k: count(c[:2], k), "nur die erste Schicht"),
        ],
    ),
    "2.3": (
        field_backwards,
        [
            (lambda layers: 1 + sum(size - 1 for size, _ in layers), "Schritt fehlt"),
            (field_early, "zu früh"),
            (lambda layers: field_backwards(layers) - 1, "um eins zu klein"),
            (lambda layers: sum(size for size, _ in layers), "überlappen"),
        ],
    ),
    "2.4": (
        preprocess_channelwise,
        [
            (lambda i: i - MEAN[::-1], "Rot, Grün, Blau (RGB)"),
            (lambda i: i - MEAN, "BGR und RGB"),
            (lambda i: i[:, :, [2, 1, 0]] - MEAN[::-1], "falschen Mittelwert"),
            (lambda i: preprocess_channelwise(i) / 255, "zusätzlich durch 255"),
            (lambda i: i[:, :, ::-1] / 255.0, "statt die Mittelwerte"),
            (lambda i: np.flip(i, -1).astype(int), "noch nicht abgezogen"),
            (lambda i: i[::-1] - MEAN, "auf dem Kopf"),
            (lambda i: i[..., ::-1] - np.uint8(MEAN), "laufen über"),
        ],
    ),
    "2.5": (
        head,
        [
            (lambda *a: head(*a, relu=False), "fehlt das ReLU"),
            (lambda *a: head(*a, softmax=True), "Softmax"),
            (lambda *a: head(*a, cut=True), "bei Null abgeschnitten"),
            (lambda *a: head(*a, bias=0), "Biaswerte fehlen"),
            (head_flattens_all, "nicht richtig in eine Reihe"),
        ],
    ),
}
