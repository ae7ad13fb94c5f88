"""Ein Netz mit zwei Faltungen statt dreizehn, für Tests, in denen es um das Training geht und nicht um VGG16."""

import numpy as np

from helpers import model, training
from helpers.model import keras


def two_layer_net(image_size=32, weights=None, seed=0, classes=10):
    """Wie ``build_vgg16`` aufgerufen und mit dessen Schichtnamen."""
    keras.utils.set_random_seed(seed)
    rng, layers = np.random.default_rng(seed), keras.layers
    inputs = x = keras.Input((image_size, image_size, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="block1_conv1")(layers.Rescaling(1 / 100)(x))
    x = layers.MaxPooling2D(image_size // 8, name="block1_pool")(x)
    x = layers.Activation("linear", name="block4_pool")(x)
    x = layers.Conv2D(8, 3, activation="relu", name="block5_conv3")(x)
    x = layers.Flatten(name="flatten")(x)
    net = keras.Model(inputs, layers.Dense(classes, name="logits")(x))
    # Von numpy gewürfelt: mit jedem Backend dieselben.
    net.set_weights([rng.normal(0, np.prod(old.shape[:-1]) ** -0.5, old.shape) for old in net.get_weights()])
    return net


def replace_vgg16(set_attribute=setattr) -> None:
    """Training und Laden bauen ab jetzt dieses Netz; ``monkeypatch.setattr`` macht es rückgängig."""
    for module in (training, model):
        set_attribute(module, "build_vgg16", two_layer_net)
