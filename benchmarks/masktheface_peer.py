"""Runs MaskTheFace on pictures, in its own interpreter; started by `overlay.py`, which reads its answers.

Arguments: folder of a MaskTheFace checkout, which must also be the working folder. Each line on standard
input is a JSON list of picture files; each answer is a JSON object on standard output.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any


def main() -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr  # the checkout prints
    sys.path.insert(0, sys.argv[1])
    import cv2
    import dlib
    from utils import aux_functions

    cv2.setNumThreads(1)
    package = importlib.util.find_spec("face_recognition_models")
    assert package is not None and package.submodule_search_locations
    model = Path(package.submodule_search_locations[0]) / "models" / "shape_predictor_68_face_landmarks.dat"
    settings = Namespace(
        detector=dlib.get_frontal_face_detector(),
        predictor=dlib.shape_predictor(str(model)),
        mask_type="surgical",
        pattern="",
        pattern_weight=0.5,
        color="#0473e2",
        color_weight=0.5,
        code="",
        verbose=False,
    )
    spent = {"seconds": 0.0, "faces": 0}
    draw = aux_functions.mask_face

    def timed(*args: Any, **values: Any) -> Any:
        start = time.process_time()
        found = draw(*args, **values)
        spent["seconds"] += time.process_time() - start
        spent["faces"] += 1
        return found

    aux_functions.mask_face = timed
    for line in sys.stdin:
        spent.update(seconds=0.0, faces=0)
        start = time.process_time()
        for path in json.loads(line):
            aux_functions.mask_image(path, settings)
        seconds = time.process_time() - start
        answer = {"seconds": seconds, "overlay_seconds": spent["seconds"], "faces": spent["faces"]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
