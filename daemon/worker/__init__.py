"""The child processes that open videos and pictures. The service's end of the first is daemon.crew.

contract   what a worker does for one kind of job
registry   who does which kind
process    the child process that owns models and decoders
extractor  jobs of kind extract
verifier   jobs of kind verify
masker     jobs of kind mask
curator    jobs of kind curate
basis      pure: what makes the faces of a clip, as one hash; work with an equal one goes on
failures   pure: what a failure in it means for its job
trial      does a large file open? Asked before it is hashed
workspaces what the service asks about pictures in a workspace
outputs    the files that one clip left in a workspace
"""
