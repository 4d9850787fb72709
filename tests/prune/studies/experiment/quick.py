"""A small experiment."""

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
