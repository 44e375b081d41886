"""Fused kernels for what surrounds the mLSTM in a scan: the local mixing and the output gate.

Outside the matrix products a layer is bound by memory. The table counts how often tensors of the
size (B, S, D) are read or written. The inner tensors, of E = 2D channels, count twice; float32
gates and sums of weights' gradients, a few per cent, are left out. Neighbours of the convolution
come from the cache. In eager PyTorch each operator reads its inputs and writes its output once;
layout copies and casts are left out.

                                        reads  writes    eager, both
    local mixing   forward                  2       8             36
    output gate    forward                  6       2             24
    local mixing   backward                16       4             90
    output gate    backward                 8       6             48

With the norm, both projections, the mLSTM of one chunk and the residual (21) a layer moves 39
forward, against 81 eagerly. With several chunks the mLSTM reads k and v twice (4 more) and moves
its states.
"""
