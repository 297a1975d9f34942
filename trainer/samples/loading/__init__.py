"""Samples from processes of their own, ahead of the training.

sample_ring    memory that the processes share: room for the batches of a few iterations
sample_worker  the process that makes samples
sample_loader  SampleLoader: one iteration after the other
"""
