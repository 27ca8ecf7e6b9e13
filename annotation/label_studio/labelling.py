"""What the review page offers: brushes, face boxes, choices and a note, as Label Studio's XML.

The control names below are the only link between the page and `codec.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

from annotation.drawing import ACCEPT, FIX, REGION_CHOICES, REJECT
from dataset_tools.core.labels import LABEL_COLOURS, MASK_TYPE, WEARING_STATE, Label

IMAGE = "image"
BRUSH = "brush"
BOX = "box"
VERDICT = "verdict"
NOTE = "note"
# Smart prompts: what is drawn with them goes to the model, and the model answers with a brush region.
CLICK = "click"
PROMPT_BOX = "prompt_box"
PROMPTS = (CLICK, PROMPT_BOX)

FACE_BOX = "face_box"
# What people read; the words above are what comes back.
_VERDICT_TEXTS = {
    ACCEPT: "right as it now stands",
    FIX: "wrong, leave it to others",
    REJECT: "not for the dataset",
}
_HOW_TO = (
    "All right? Just submit. To mend a mask, select it in the list of regions, then use brush (B) and eraser "
    "(E). For one that is missing, press {} and paint."
)
_HOW_TO_PROMPT = {
    "": "Or ask the model: switch Auto-Annotation on, below the picture, then accept (or not) what it shows.",
    CLICK: "Click: K, a label, then click on the thing (Alt+click: not this).",
    PROMPT_BOX: "Box: R, a label, then draw a box around the thing.",
}
_HOW_TO_CHOOSE = "Select a face mask to see its type and wearing state."

# Names of the values in a task's `data`.
SAMPLE_ID = "sample_id"
ITEM_KEY = "item_key"
SHOWN = "shown"  # digest of the proposal, so that a verdict is never compared with another one

_HOTKEYS = {Label.FACE_MASK: "m", Label.FACE: "f", Label.OCCLUDER: "o", Label.STRAP: "s"}
_ASSISTED_HOTKEYS = _HOTKEYS | {Label.FACE_MASK: "a"}  # M takes the next smart tool then
_BOX_COLOUR = "#ffab00"
_BOX_HOTKEY = "x"  # B, the word's own letter, is the page's key for the brush

# The page gives every label and choice without a key of its own the next free letter, among them E: who
# reaches for the eraser would quietly set a mask type.
_REGION_MODIFIERS = {MASK_TYPE: "shift", WEARING_STATE: "alt+shift"}

# A tall picture is shown whole at 900 px: what stands above and below it takes so much.
_PICTURE_HEIGHT = "calc(100vh - 240px)"
# The page zooms before its bar of tools appears, and would cut off as much on the sides of the picture.
_PICTURE_WIDTH = "calc(100% - 42px)"
_SMALL_TEXT = "font-size:13px;line-height:18px;font-weight:400;margin:0 0 8px 0;"


def labelling_config(*, assisted: bool = False) -> str:
    """The labelling configuration of every review project; constant, nothing from outside enters it.

    The controls stand beside the picture: below a tall one they would be out of sight. Mask type and wearing
    state belong to one face mask, so they show when its region is selected.

    Args:
        assisted: with clicks and boxes as prompts for a model, for a project with an interactive backend.
            They leave no trace: accepting what the model shows removes them.
    """
    keys = _ASSISTED_HOTKEYS if assisted else _HOTKEYS
    how_to = text(_HOW_TO.format(keys[Label.FACE_MASK].upper()))
    side = how_to + heading("verdict") + verdict_controls() + region_controls()
    return page(label_controls(keys) + picture(), side + (_prompt_controls(keys) if assisted else ""))


def page(main: str, side: str, side_px: int = 250) -> str:
    """Two columns: the picture with its labels, and what is asked about it."""
    return (
        '<View style="display:flex;gap:16px;align-items:flex-start">'
        f'<View style="flex:1 1 auto;min-width:0">{main}</View>'
        f'<View style="flex:0 0 {side_px}px;max-width:{side_px}px">{side}</View>'
        "</View>"
    )


def text(value: str, style: str = "") -> str:
    """Small text; `$name` shows that value of the task's data, as text."""
    return f'<Header size="5" style={quoteattr(_SMALL_TEXT + style)} value={quoteattr(value)}/>'


def heading(value: str) -> str:
    """A heading."""
    return f'<Header size="5" value={quoteattr(value)}/>'


def picture(height: str = _PICTURE_HEIGHT) -> str:
    """The photo people draw on, no higher than that CSS length."""
    return (
        f'<Image name="{IMAGE}" value="${IMAGE}" zoom="true" zoomControl="true" brightnessControl="true" '
        f'contrastControl="true" smoothing="false" maxWidth="{_PICTURE_WIDTH}" '
        f'maxHeight="{height}"/>'
    )


def label_controls(keys: Mapping[Label, str] = _HOTKEYS) -> str:
    """What can be painted or boxed, in one row; `keys` are the labels' hotkeys."""
    # Not smart: else a model is asked with every stroke.
    return (
        '<View style="display:flex;flex-wrap:wrap;column-gap:8px">'
        f'<BrushLabels name="{BRUSH}" toName="{IMAGE}" opacity="0.45" smart="false">{_labels(keys)}'
        "</BrushLabels>"
        f'<RectangleLabels name="{BOX}" toName="{IMAGE}" strokeWidth="2" fillOpacity="0" smart="false">'
        f'<Label value="{FACE_BOX}" background="{_BOX_COLOUR}" hotkey="{_BOX_HOTKEY}"/></RectangleLabels>'
        "</View>"
    )


def _prompt_controls(keys: Mapping[Label, str]) -> str:
    """Clicks and boxes that ask the model for a region of their label."""
    controls = text(_HOW_TO_PROMPT[""])
    for tag, name, modifier in (
        ("KeyPointLabels", CLICK, "shift"),
        ("RectangleLabels", PROMPT_BOX, "shift+alt"),
    ):
        labels = _labels({label: f"{modifier}+{key}" for label, key in keys.items()})
        controls += (
            f'{text(_HOW_TO_PROMPT[name])}<{tag} name="{name}" toName="{IMAGE}" smart="true" '
            f'smartOnly="true">{labels}</{tag}>'
        )
    # A label that is pressed while a region is selected would go to that region.
    return f'<View visibleWhen="no-region-selected">{controls}</View>'


def verdict_controls() -> str:
    """The verdict and a note."""
    verdicts = "".join(
        f"<Choice value={quoteattr(value)} alias={quoteattr(word)} hotkey={quoteattr(str(number))}/>"
        for number, (word, value) in enumerate(_VERDICT_TEXTS.items(), start=1)
    )
    return (
        f'<Choices name="{VERDICT}" toName="{IMAGE}" choice="single-radio">{verdicts}</Choices>'
        f'<TextArea name="{NOTE}" toName="{IMAGE}" rows="1" maxSubmissions="1" showSubmitButton="false" '
        'placeholder="note"/>'
    )


def region_controls() -> str:
    """Mask type and wearing state of the selected face mask."""
    controls = "".join(
        f'<View visibleWhen="region-selected" whenTagName="{BRUSH}" whenLabelValue="{Label.FACE_MASK}">'
        f"{heading(name.replace('_', ' '))}"
        f'<Choices name={quoteattr(name)} toName="{IMAGE}" perRegion="true" choice="single-radio" '
        f'layout="select">{_region_choices(name, values)}</Choices></View>'
        for name, values in REGION_CHOICES.items()
    )
    return f'<View visibleWhen="no-region-selected">{text(_HOW_TO_CHOOSE)}</View>{controls}'


def _labels(keys: Mapping[Label, str]) -> str:
    return "".join(
        f"<Label value={quoteattr(label.value)} background={quoteattr(_hex(label))} "
        f"hotkey={quoteattr(keys[label])}/>"
        for label in Label
    )


def _region_choices(name: str, values: tuple[str, ...]) -> str:
    return "".join(
        f"<Choice value={quoteattr(value)} hotkey={quoteattr(f'{_REGION_MODIFIERS[name]}+{number % 10}')}/>"
        for number, value in enumerate(values, start=1)
    )


def _hex(label: Label) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in LABEL_COLOURS[label])
