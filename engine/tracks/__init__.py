"""The faces of one shot as tracks, and who is who among them. Pure.

track          a track: the frames that saw a face, and the embeddings that were made of it
linking        which face goes on which track, from one look to the next
same_frame     who was seen in one frame with whom, and where only embeddings distinguish two
window_tracks  the tracks of one window, and who was beside whom
splitting      where a track changes its person
verdicts       which tracks are the person: accepted, review or rejected, and what a video teaches
review_tracks  tracks in review that later shots may explain
"""
