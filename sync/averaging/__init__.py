"""The arithmetic on files of weights, and who is left out of it.

compare         pure: do machines train the same thing?
divergence      pure: how far apart they are
gates           pure: which of them are left out
average         pure: the arithmetic
average_model   a whole model, file by file; the seam that a round calls
average_files   dfld average: files in, one averaged file out
averaging_pass  one fused pass over the weights of several machines
tensor_file     the tensors of one file by name and range
tensor_formats  .npy and .safetensors
tensor_arrays   averaging arrays that are in memory
npz_files       .npz archives
torch_files     PyTorch files
"""
