"""When a round is due.

stages  pure: which stage a training is in, and whether a round is due
watch   asks every machine how far it is, and the stages whether that is enough
"""
