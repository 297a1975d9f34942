"""Faces out of videos. Knows no inbox, schedule, ledger or SSH.

extract        the pipeline from a video to a workspace; the one seam that daemon/ and the CLI call
types          Frame, Face, AlignedFace, Identity, settings, Commit, report: the values that flow
errors         what can go wrong between a video and a workspace

footage        frames out of hostile files: videos and folders of images
backends       the sets of models, behind one contract
timed_backend  a backend that adds up how long its tasks take
identity       who the person is, as the reference photos show it, and who counts as the same
tracks         faces found, followed through shots, and told apart
workspace      what is written: aligned faces, masks, log, preview sheet
tuning         which similarity threshold fits one video
stopwatch      seconds spent in each stage
steps          signs of life from work that reads no new frame
"""
