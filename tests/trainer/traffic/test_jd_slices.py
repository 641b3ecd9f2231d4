import os
from pathlib import Path

import numpy as np
import pytest

from trainer.traffic.jd import JdError
from trainer.traffic.jd_slices import WINDOW_S, is_slice, load_slice

DATA = (
    Path(os.environ.get("WEIR_SHARED_DATA", Path(__file__).parents[4] / "shared/data"))
    / "jdata_raw_slices"
)
COUNTED = (0.540, 0.409, 0.0963, 0.0244)
"""Rates counted in the slice of 2016-02 by other means; its README has them."""


@pytest.mark.skipif(not DATA.is_dir(), reason="JD's slices absent: set WEIR_SHARED_DATA")
def test_a_slice_becomes_requests_with_their_outcomes() -> None:
    """Requests, rates and users are those that were counted in the files."""
    requests, user_N = load_slice(DATA)
    labels_NT = requests.labels()
    assert len(requests.traffic) == len(user_N) == 7345
    assert not np.isnan(labels_NT).any()
    assert labels_NT.mean(axis=0) == pytest.approx(COUNTED, abs=0.0005)
    delays_NT = requests.traffic.delays_s[labels_NT == 1]
    assert delays_NT.min() > 0
    assert delays_NT.max() <= WINDOW_S


def test_a_folder_without_slices_is_none(tmp_path: Path) -> None:
    """It is told apart, and loading it names what is missing."""
    assert not is_slice(tmp_path)
    with pytest.raises(JdError, match="JData_Action"):
        load_slice(tmp_path)
