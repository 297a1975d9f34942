"""One round from end to end, journaled, and what is kept of it.

rounds          one round from end to end, journaled; the seam that daemon/ and the CLI call
watch           is a round due? one look at every machine
round_steps     the steps of a round, each on all its machines
round_settings  what a round is told
round_report    pure: a round's record as a value for people and metrics
joining         what a finished round leaves: the model to deploy, the outer step's memory; going back
journal         what a round has done, on disk before anything builds on it
downtime        pure: how long a round keeps trainers from training, and what the next will cost
standing        pure: what the journals say, and where machines stand
store           what is kept on this computer for one model
stages          pure: which stage a training is in, and whether a round is due
snapshot        one consistent copy off a machine
push            new weights onto it, all or nothing
accept          who may be averaged, and who may be given the result
"""
