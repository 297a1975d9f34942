"""The network that DeepFaceLab trains to mask faces, run by ONNX Runtime without DeepFaceLab and without PyTorch.

xseg_masks       the source `xseg`: a face's crop → the network's picture → the mask in the face
converted        the weight file → an ONNX file, made once, checked, kept
onnx_graph       pure: the weights → the network as an ONNX file
numpy_network    pure: the network in plain numpy, which the ONNX file is held against
"""
