"""Stopping, starting and reloading the training program.

trainer           stopping, starting and reloading the training program
trainer_contract  what that means, in words
trainer_command   by commands
trainer_hook      by notes to a line inside the trainer
processes         the machine's process list: does a trainer run, and since when?
hook_program      that line's program; runs on the machine
process           pure: does the very process live that gave a sign of life?
proof             pure: did a trainer take the weights it was given?
"""
