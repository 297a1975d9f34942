"""Who the person is, as the reference photos show it, and who counts as the same.

reference_photos  a photo -> the one face that shows the person, or why there is none
reference_set     a set of reference photos as embeddings
identity          reference photos -> Identity
identity_file     an Identity on disk
match             pure: similarity, and the reasons that a face can end with
"""
