"""A whole scan as one operator on a CPU, in C++: forward and backward, float32.

``source/`` is the operator: plain C++17 over pointers, compiled once for each instruction set.
``build.py`` compiles it, ``library.py`` loads it and calls it, ``op.py`` is the PyTorch operator,
and ``scan.py`` alone decides when it runs. Without it, everything runs in plain PyTorch.
"""
