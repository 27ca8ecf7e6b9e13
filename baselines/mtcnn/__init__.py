"""The depthwise-separable MTCNN face detector of Xu & Zheng (`baselines.md` section 3.2)."""
