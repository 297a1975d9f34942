from __future__ import annotations

from dataclasses import replace

import pytest

from engine.errors import SettingsError
from engine.identity.embedding import require_same_recogniser
from tests.painted import ALICE, PaintedBackend, identity_of


def test_an_identity_made_by_another_recogniser_is_refused_by_name() -> None:
    identity, backend = identity_of(ALICE), PaintedBackend()
    require_same_recogniser(identity, backend)
    with pytest.raises(SettingsError, match=r"was made with .* \(another\), this run uses") as refused:
        require_same_recogniser(replace(identity, model="another"), backend)
    assert refused.value.hint
