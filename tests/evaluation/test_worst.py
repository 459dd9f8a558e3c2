import numpy as np
import pytest

from fgq.errors import FgqError
from fgq.evaluation.report import worst_scenes


def test_scenes_are_ranked_by_what_they_lost(report_of):
    base, mine = np.array([[1.0, 2, 3, 4]]), np.array([[1.5, 2.1, 6.0, 3.0], [1.5, 2.1, 4.0, 3.0]])
    reports = report_of(mine), report_of(base, "full precision")
    assert worst_scenes(*reports, "depth_abs_rel", 3) == ["s2", "s0", "s1"]
    name = "pose_auc@30"
    higher = report_of(mine, metric=name), report_of(base, "full precision", metric=name)
    assert worst_scenes(*higher, name, 1) == ["s3"]
    with pytest.raises(FgqError, match="s1 has no depth_abs_rel"):
        worst_scenes(report_of([[1.0, np.nan]]), report_of([[1.0, 1.0]]), "depth_abs_rel", 1)
