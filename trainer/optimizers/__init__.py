"""How weights change.

optimizer    Optimizer: the weights, their accumulators, one step
rules        AdaBelief, RmsProp, AdamW: from a gradient to a direction
schedule     Schedule: the learning rate at each step
lr_dropout   which weights do not move in a step
clip         DflClip, AutoClip: how much of a gradient is taken
state_names  the keys of DeepFaceLab's optimizer files
"""
