"""Video networks of torchvision and pytorchvideo: `torchvision:r3d_18@FILE`, `pytorchvideo:slow_r50@FILE`, ..."""
