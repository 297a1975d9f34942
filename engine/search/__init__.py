"""Where in a frame to look for faces, and when.

scout         pure: pass one: look at some frames, link their faces into tracks, ask the recogniser about them
schedule      pure: when a look is due, and how wide
requests      what the scout asks about a frame, and the answers
observer      answers those requests, with detector and recogniser
area          parts of a frame as fractions of it
novelty       which part of a picture an earlier one did not show
certainty     whether a look can be trusted: upright faces, and faces large enough for a small picture
frame_search  the faces of one frame: all over, or near known ones and where something is new
looks         how the detector is fed: a whole picture, a square round a face, darker, turned
follow        pass two: a wanted face in every frame between the looks
"""
