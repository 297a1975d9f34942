"""Where in a frame to look for faces, and when.

scout         pure: pass one: look now and then, link faces into tracks, ask who they are
schedule      pure: when a look is due, and how wide
requests      what the scout asks about a frame, and what it is answered
observer      carries that out, with detector and recogniser
area          parts of a frame as fractions of it
novelty       what a picture shows that an earlier one did not
certainty     what a look can be believed about
frame_search  the faces of one frame: all over, or near known ones and where something is new
looks         how the detector is fed: a whole picture, a square round a face, darker, turned
follow        pass two: a wanted face in every frame between the looks
"""
