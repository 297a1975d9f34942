"""What a job can be: one file a kind, and the contract that they keep.

contract   what the service and the crew know of every kind
registry   every kind by its name
extract    a video becomes faces in a workspace
verify     the faces of a clip are read back
mask       the faces of a clip get their masks
curate     the faces of a side of a workspace that training does not need are set aside
"""
