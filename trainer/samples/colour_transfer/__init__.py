"""The colours of one picture given to another: DeepFaceLab's five ways. Pure.

transfer    transfer_colours: one way by its name, with its random numbers from a seed
statistics  rct, lct, mkl: means and covariances
iterative   idt, sot: distributions, in steps along random directions
"""
