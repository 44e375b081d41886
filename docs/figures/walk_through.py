"""From an image to features to a segmentation, step by step.

    python docs/figures/walk_through.py [CHECKPOINT OUT.png]

By default from the checkpoint of `make demo` to walk_through.png.
"""

import sys
import tempfile
from pathlib import Path

import mmcv
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vil_mm.apis import SegInferencer
from vil_mm.datasets import draw_dataset

checkpoint, out = sys.argv[1:] or (
    'work_dirs/upernet_vil_t_drawn/iter_240.pth',
    'walk_through.png',
)

# 1. an image that the model has not seen: uint8, (H, W, 3)
folder = Path(tempfile.mkdtemp())
draw_dataset(folder / 'drawn', num_train=1, num_val=1, seed=7)
image_file = next((folder / 'drawn' / 'images' / 'validation').iterdir())
image = mmcv.imread(image_file)
print('image', image.shape)

# 2. the model, by its name in the zoo, and the batch from its test pipeline
inferencer = SegInferencer('upernet_vil_t_drawn', checkpoint, device='cpu')
model = inferencer.model
data = inferencer.collate_fn([inferencer.pipeline(image)])
batch = model.data_preprocessor(data, False)['inputs']  # normalised, padded to whole patches
print('batch', tuple(batch.shape))

with torch.no_grad():
    # 3. patches -> tokens on a grid, one for every 16 x 16 pixels
    tokens = model.backbone.patch_embed(batch)
    print('grid of tokens', tuple(tokens.shape))

    # 4. the blocks, in turn from the top left and from the bottom right; four of them are taps
    taps = model.backbone(batch)
    for block, tap in zip(model.backbone.out_indices, taps, strict=True):
        print(f'map after block {block + 1}', tuple(tap.shape))

    # 5. four maps of one size become a pyramid: 1/4, 1/8, 1/16 and 1/32 of the image
    pyramid = model.neck(taps)
    print('pyramid', *(tuple(level.shape) for level in pyramid))

    # 6. UperNet's head: one logit per class and pixel of the finest level
    logits = model.decode_head(pyramid)
    print('logits', tuple(logits.shape))

# 7. resized to the image, the largest logit is the label
labels = inferencer(str(image_file))['predictions']
print('labels', labels.shape, 'classes', np.unique(labels).tolist())

# 8. a picture of all steps; colours of maps are their first three principal components
figure = Figure(figsize=(15, 3.2), layout='constrained')
FigureCanvasAgg(figure)
axes = figure.subplots(1, 5)
pictures = {'image': mmcv.bgr2rgb(image)}
for block, tap in list(zip(model.backbone.out_indices, taps, strict=True))[::2]:
    values = tap[0].flatten(1).T  # (tokens, channels)
    _, _, directions = torch.pca_lowrank(values, q=3, niter=4)
    colours = values @ directions
    colours = (colours - colours.amin(0)) / (colours.amax(0) - colours.amin(0))
    pictures[f'features after block {block + 1}'] = colours.unflatten(0, tap.shape[2:]).numpy()
pictures['logit of the commonest class'] = logits[0, np.bincount(labels.ravel()).argmax()].numpy()
pictures['segmentation'] = np.array(model.dataset_meta['palette'], np.uint8)[labels]
for ax, (title, picture) in zip(axes, pictures.items(), strict=True):
    ax.imshow(picture)
    ax.set_title(title)
    ax.axis('off')
figure.savefig(out, dpi=100)
