"""A user's own photos and masks: looked at, recoded, split, and a config to train on them."""

from vil_mm.own_data.prepare import Wishes, prepare

__all__ = ['Wishes', 'prepare']
