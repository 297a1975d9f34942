"""Who the person is, as the reference photos show it, and who counts as the same.

same_person       pure: the similarity of two faces, and the limits from which they are one person
embedding         crops of faces -> embeddings, and whether those of two recognisers can be compared
reference_photos  a photo -> the one face that shows the person, or why there is none
reference_set     a set of reference photos as embeddings
identity          reference photos -> Identity
identity_file     an Identity on disk
"""
