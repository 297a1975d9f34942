"""Where in a frame to look for faces, and when.

windows       footage in windows: a shot, or a piece of a long one
shots         where the shot changes
scout         pass one: look now and then, link faces into tracks, ask who they are
novelty       what a picture shows that an earlier one did not
frame_search  the faces of one frame: all over, or near known ones and where something is new
looks         how the detector is fed: a whole picture, a square round a face, darker, turned
follow        pass two: a wanted face in every frame between the looks
"""
