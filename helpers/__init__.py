"""Helfer des Kurses „Traue keinem CNN“.

Dieses Modul importiert nur die Standardbibliothek: So kann es auch in einem falschen Kernel geladen werden und dort
sagen, was fehlt. Es setzt außerdem die Umgebung, die TensorFlow *vor* seinem Import sehen muss.
"""

import os
import warnings

# oneDNN halbiert auf CPUs, auf denen es ab Werk aus ist, die Zeit für Training und LRP.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# TensorFlows Protokollzeilen erschrecken Lernende und stören nbval; Fehler bleiben sichtbar.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Sonst nähme das erste Notebook den ganzen Speicher der GPU, und das zweite bekäme keinen (TensorFlow, dann JAX).
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# Grad-CAM braucht tf.keras == Keras 3; iNNvestigate bekommt sein tf_keras in helpers.lrp_library.
os.environ["TF_USE_LEGACY_KERAS"] = "0"
# tf-keras-vis und iNNvestigate importieren noch alte Namen; die Hinweise darauf sind nicht an Lernende gerichtet.
warnings.filterwarnings("ignore", category=DeprecationWarning)

__version__ = "1.0.0"
