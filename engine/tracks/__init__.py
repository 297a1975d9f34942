"""Faces found, followed through shots, and told apart.

windows       footage in windows: a shot, or a piece of a long one
shots         where the shot changes
scout         pass one: look now and then, link faces into tracks, ask who they are
search        the faces of one frame: all over, or near known ones and where something is new
novelty       what a picture shows that an earlier one did not
looking       how the detector is fed: a whole picture, a square round a face, darker, turned
company       who is near whom in one look: where to ask
tracking      who goes with whom from one look to the next
recognise     crops -> embeddings
decide        who is who in a window
follow        pass two: a wanted face in every frame between the looks
window_faces  pass two over a window: fill in, write, record
carry         what one window hands to the next
quality       how good a face is, to tell who it is and to train on
closing       what only the whole clip can tell: review tracks explained later, near-duplicates
variety       which faces show the same
"""
