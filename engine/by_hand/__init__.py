"""One face that a person points at, followed through its shot where no reference photo would match.

given_face     the face in the box at the time, and who it is to the recogniser
shot           where the shot of a time begins, in pieces that can be read backwards
follow_given   the face in every frame of its shot, while it stays the same face
"""
