"""Files of backbones that are not ours; tests/configs/test_baselines.py has those of the peers."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import ConfigDict

from vil_mm.checkpoints.reading import CheckpointError
from vil_mm.runs.other_backbones import check_other_backbone


@pytest.mark.parametrize('kind', ['SwinTransformer', 'mmseg.MixVisionTransformer'])
def test_names_that_a_backbone_changes_itself_are_not_compared(tmp_path, kind):
    """mmsegmentation's own, of the default scope or by its name; as data they are read."""
    file = tmp_path / 'theirs.pth'
    torch.save({'layers.0.attn.weight': torch.zeros(1)}, file)
    check_other_backbone(ConfigDict(type=kind), ConfigDict(checkpoint=str(file)))
    file.write_text('no checkpoint')
    with pytest.raises(CheckpointError, match='not a checkpoint'):
        check_other_backbone(ConfigDict(type=kind), ConfigDict(checkpoint=str(file)))
