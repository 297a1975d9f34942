"""One round from end to end, and what is kept of it.

rounds           one round from end to end, journaled; the seam that daemon/ and the CLI call
settings         what a round is given
feasibility      pure: can it succeed at all? Asked before the first trainer is stopped
candidates       who may be averaged, and who may be given the result
round_work       a round under way: its record, its machines, the line that every step writes
before_decision  its steps up to the decision: a failure leaves every machine as it was
after_decision   its steps after that: forward only, safe to repeat
new_weights      where the weights come from that a round gives out
deploy           what a finished round leaves: the model to deploy, the outer step's memory; going back
store            what is kept on this computer for one model
"""
