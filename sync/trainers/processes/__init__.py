"""Does a trainer run? What the processes of a machine prove.

process_list       the machine's processes: asked and read
trainer_processes  pure: which of them may be a model's trainer, and whether the list proves that none is
sign_of_life       pure: does the very process live that gave a sign of life?
"""
