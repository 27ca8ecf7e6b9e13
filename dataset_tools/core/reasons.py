"""The fixed words that say why an item was rejected."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why an item is not in the dataset; one word per cause, so that rejects can be counted."""

    # fetching
    TRANSPORT = "transport"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    REDIRECT_LIMIT = "redirect_limit"
    UNSAFE_URL = "unsafe_url"
    UNSAFE_PATH = "unsafe_path"
    ROBOTS = "robots"
    OPT_OUT = "opt_out"
    TOO_MANY_BYTES = "too_many_bytes"
    NOT_A_FILE = "not_a_file"
    PERMISSION = "permission"
    LICENCE = "licence"
    TOMBSTONE = "tombstone"
    HASH_BLOCKLIST = "hash_blocklist"
    # archives
    SPECIAL_FILE = "special_file"
    NESTED_ARCHIVE = "nested_archive"
    ARCHIVE_BOMB = "archive_bomb"
    ENCRYPTED = "encrypted"
    DUPLICATE_MEMBER = "duplicate_member"
    # pictures
    EMPTY = "empty"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    NOT_AN_IMAGE = "not_an_image"
    FORMAT_NOT_ALLOWED = "format_not_allowed"
    ANIMATED = "animated"
    DIMENSIONS = "dimensions"
    TOO_SMALL = "too_small"
    TOO_MANY_PIXELS = "too_many_pixels"
    ASPECT_RATIO = "aspect_ratio"
    BOMB_METADATA = "bomb_metadata"
    DECODE_BUDGET = "decode_budget"
    DECODER_CRASH = "decoder_crash"
    WORKER_LOST = "worker_lost"
    # annotations
    JSON = "json"
    SCHEMA = "schema"
    MISSING_IMAGE = "missing_image"
    SIZE_MISMATCH = "size_mismatch"
    MASK_SIZE = "mask_size"
    RLE_SUM = "rle_sum"
    RLE_VALUE = "rle_value"
    RLE_SIZE = "rle_size"
    NO_AREA = "no_area"
    NOT_FINITE = "not_finite"
    OUT_OF_BOUNDS = "out_of_bounds"
    DEGENERATE = "degenerate"
    DANGLING_REFERENCE = "dangling_reference"
    DUPLICATE_ID = "duplicate_id"
    UNKNOWN_LABEL = "unknown_label"
    # filtering
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    NO_FACE = "no_face"
    FACE_TOO_SMALL = "face_too_small"
    FACE_TRUNCATED = "face_truncated"
    BLURRED = "blurred"
    EXPOSURE = "exposure"
    # overlay
    NO_LANDMARKS = "no_landmarks"
    POSE = "pose"
    MASK_OFF_IMAGE = "mask_off_image"
    ALREADY_MASKED = "already_masked"
    # review
    REVIEW_REJECTED = "review_rejected"
    # our own fault: counted, logged with its traceback, never silent
    INTERNAL = "internal"
