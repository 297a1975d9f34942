"""Stopping, starting and reloading the training program.

trainer           stopping, starting and reloading the training program
control           pure: the ways of steering a trainer, and what each means for a round
trainer_contract  what that means, in words
trainer_command   by commands
trainer_hook      by notes to a line inside the trainer
processes         the machine's process list: does a trainer run, and since when?
hook_program      that line's program; runs on the machine
process           pure: does the very process live that gave a sign of life?
pace              pure: how fast a trainer iterates, and since when
proof             pure: did a trainer take the weights it was given?
"""
