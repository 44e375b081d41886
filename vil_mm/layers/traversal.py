"""The orders in which layers visit the grid of tokens (the block designs of the ViL paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Order(NamedTuple):
    """One way through the grid: by rows or by columns, from its top left or from its bottom right.

    Attributes:
        columns: Down the first column, then the next, instead of along the first row.
        reverse: The same list of tokens from its end.
    """

    columns: bool
    reverse: bool


ROWS, ROWS_BACK = Order(False, False), Order(False, True)
COLUMNS, COLUMNS_BACK = Order(True, False), Order(True, True)


@dataclass(frozen=True)
class Traversal:
    """What the layers of a network do in turn.

    Attributes:
        layers: Layer j runs all orders of entry ``j % len(layers)`` and adds their results.
        shared: The orders of a layer share one set of weights instead of having one each.
    """

    layers: tuple[tuple[Order, ...], ...]
    shared: bool = False

    def orders(self, layer: int) -> tuple[Order, ...]:
        """The orders of a layer, counted from 0 over the whole network."""
        return self.layers[layer % len(self.layers)]

    @property
    def by_rows_only(self) -> bool:
        """Whether no layer scans by columns, so that the tokens may be any sequence."""
        return not any(order.columns for orders in self.layers for order in orders)


TRAVERSALS = {
    'unidirectional': Traversal(((ROWS,),)),
    'bidirectional': Traversal(((ROWS, ROWS_BACK),)),
    'bidirectional_shared': Traversal(((ROWS, ROWS_BACK),), shared=True),
    'alternating': Traversal(((ROWS,), (ROWS_BACK,))),
    'quad': Traversal(((ROWS, ROWS_BACK, COLUMNS, COLUMNS_BACK),)),
    'quad_shared': Traversal(((ROWS, ROWS_BACK, COLUMNS, COLUMNS_BACK),), shared=True),
    'alternating_quad': Traversal(((ROWS,), (ROWS_BACK,), (COLUMNS,), (COLUMNS_BACK,))),
}
