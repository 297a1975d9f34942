"""Stopping, starting and reloading the training program.

contract      what steering a trainer means, in words, and what all ways of it share
control       pure: the ways of steering a trainer, and what each means for a round
trainer       the trainer of each way
commanded     stopped and started by commands
cooperating   asked by notes to a line inside the trainer
uncontrolled  started and stopped by a person
hook_notes    pure: the notes between dfld and that line, as values
hook_program  that line's program; runs on the machine
processes     does a trainer run? What the machine's processes prove
pace          pure: how fast a trainer iterates, and since when
proof         pure: did a trainer take the weights it was given?
"""
