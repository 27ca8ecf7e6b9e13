"""Segmentation without gradient steps: floors for every table, and the methods of Xu & Zheng.

All of it works on pictures brought to `lower_face.WORKING_PX`, so that a kernel of so many pixels means the
same share of every face. Importing a module here loads OpenCV; `baselines.models` does not.
"""
