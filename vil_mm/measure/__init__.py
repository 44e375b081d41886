"""FLOPs, speed and memory of models; scores that a model has to beat."""
