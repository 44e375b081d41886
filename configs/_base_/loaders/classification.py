# classification_eval.py with a training loader, which drops an incomplete last batch.
_base_ = './classification_eval.py'

train_dataloader = dict(
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='ReplayableInfiniteSampler', shuffle=True),
)
