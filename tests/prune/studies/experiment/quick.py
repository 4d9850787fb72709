"""Small experiments."""

QUICK = """
task = "digits"
seeds = 2
ratios = [4, 8]

[training]
epochs = 3

[pruning]
steps = 2
epochs = 1
final_epochs = 2

[methods.darb]

[methods.bank]
kept = 4

[methods.irregular]
"""

AXES = """
task = "digits"
seeds = 1
ratios = [4]
sizes = [1, 2]
weight_bits = [4, 8]
saliency = "taylor"

[training]
epochs = 2

[pruning]
steps = 2
epochs = 1
final_epochs = 1

[quantization]
epochs = 1

[methods.darb]

[methods.nm]
sizes = [1]

[methods.small]
method = "dense"
sizes = [0.25]
weight_bits = [8]
teacher = 1
"""
