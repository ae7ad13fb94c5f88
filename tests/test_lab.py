"""Das Labor: Kleine Zwillinge lernen das Zeichen, und die Kontrolle verrät nichts."""

import numpy as np
import pytest

from helpers import lab
from helpers.data import Watermark
from helpers.scorecard import Settings
from helpers.settings import Profile
from helpers.trust import Finding

PROFILE = Profile("schnell", n_train=300, n_test=200, image_size=32, epochs=2, twin_epochs=3)


@pytest.mark.langsam
def test_zeichen_und_kontrolle(small, small_vgg16, ausgabe, capsys):
    mark = Watermark(size=6, top=21)
    found = lab.sweep(
        small, {"groß": mark}, PROFILE, Settings(images=4, marked=10), 300, {"Kontrolle": (small_vgg16, mark)}
    )
    assert list(found) == ["Kontrolle", "groß"]
    assert found["groß"]["mit"] > 0.8 and lab.uses_mark(found["groß"]) and not lab.uses_mark(found["Kontrolle"])
    assert found["groß"]["ort"].value > 2 * found["Kontrolle"]["ort"].value
    for result in found.values():
        assert isinstance(result["ort"], Finding) and result["gefunden"] in ("ja", "nein")
        assert 0 <= result["ohne"] <= 1 and -1 <= result["andere"] <= 1
    assert "Epoche" not in capsys.readouterr().out
    frame = lab.table(found)
    assert list(frame.index) == list(found) and "gefunden" in frame.columns
    # Dasselbe noch einmal ergibt dasselbe Netz.
    again = lab.small_twin(small, mark, PROFILE, 300)
    twin = lab.examine_mark(again, small, mark, Settings(images=4, marked=10))
    np.testing.assert_allclose(twin["mit"], found["groß"]["mit"], atol=0.1)
