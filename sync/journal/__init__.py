"""What rounds have done, on disk before anything builds on it, and what follows from it.

journal      the lines of each round, on disk
lines        pure: the lines as values, and how each stands in the file
facts        pure: the facts of a line, read one by one out of JSON
round_kinds  pure: the kinds of rounds, and what each means for the steps of a round
record       pure: one round as its lines say
history      pure: where the machines are, as all rounds say
downtime     pure: how long a round kept trainers from training, and what the next will cost
report       pure: a round as a value for people and metrics
"""
