"""What the review page offers: brushes, face boxes, choices and a note, as Label Studio's XML.

The control names below are the only link between the page and `codec.py`.
"""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from dataset_tools.core.labels import (
    LABEL_COLOURS,
    MASK_TYPE,
    MASK_TYPES,
    WEARING_STATE,
    WEARING_STATES,
    Label,
)

IMAGE = "image"
BRUSH = "brush"
BOX = "box"
VERDICT = "verdict"
NOTE = "note"

FACE_BOX = "face_box"
REGION_CHOICES = {MASK_TYPE: MASK_TYPES, WEARING_STATE: WEARING_STATES}

ACCEPT = "accept"
FIX = "fix"  # still wrong and not mended here: the sample stays a proposal
REJECT = "reject"  # the picture does not belong into the dataset

# What people read; the words above are what comes back.
_VERDICT_TEXTS = {
    ACCEPT: "right as it now stands",
    FIX: "wrong, leave it to others",
    REJECT: "not for the dataset",
}
_HOW_TO = (
    "All right? Just submit. To mend a mask, select it in the list of regions, then use brush (B) and eraser "
    "(E). For one that is missing, press M and paint."
)
_HOW_TO_CHOOSE = "Select a face mask to see its type and wearing state."

# Names of the values in a task's `data`.
SAMPLE_ID = "sample_id"
ITEM_KEY = "item_key"
SHOWN = "shown"  # digest of the proposal, so that a verdict is never compared with another one

_HOTKEYS = {Label.FACE_MASK: "m", Label.FACE: "f", Label.OCCLUDER: "o", Label.STRAP: "s"}
_BOX_COLOUR = "#ffab00"
_BOX_HOTKEY = "x"  # B, the word's own letter, is the page's key for the brush

# The page gives every choice without a key of its own the next free letter, among them E: who reaches for the
# eraser would quietly set a mask type.
_REGION_MODIFIERS = {MASK_TYPE: "shift", WEARING_STATE: "alt+shift"}

# A tall picture is shown whole at 900 px: what stands above and below it takes so much.
_PICTURE_HEIGHT = "calc(100vh - 280px)"


def labelling_config() -> str:
    """The labelling configuration of every review project; constant, nothing from outside enters it.

    The controls stand beside the picture: below a tall one they would be out of sight. Mask type and wearing
    state belong to one face mask, so they show when its region is selected.
    """
    brushes = "".join(
        f"<Label value={quoteattr(label.value)} background={quoteattr(_hex(label))} "
        f"hotkey={quoteattr(_HOTKEYS[label])}/>"
        for label in Label
    )
    region_choices = "".join(
        f'<View visibleWhen="region-selected" whenTagName="{BRUSH}" whenLabelValue="{Label.FACE_MASK}">'
        f'<Header size="5" value={quoteattr(name.replace("_", " "))}/>'
        f'<Choices name={quoteattr(name)} toName="{IMAGE}" perRegion="true" choice="single-radio" '
        f'layout="select">{_region_choices(name, values)}</Choices></View>'
        for name, values in REGION_CHOICES.items()
    )
    verdicts = "".join(
        f"<Choice value={quoteattr(text)} alias={quoteattr(word)} hotkey={quoteattr(str(number))}/>"
        for number, (word, text) in enumerate(_VERDICT_TEXTS.items(), start=1)
    )
    return (
        '<View style="display:flex;gap:16px;align-items:flex-start">'
        '<View style="flex:1 1 auto;min-width:0">'
        f'<BrushLabels name="{BRUSH}" toName="{IMAGE}" opacity="0.45" showInline="true">{brushes}'
        "</BrushLabels>"
        f'<RectangleLabels name="{BOX}" toName="{IMAGE}" strokeWidth="2" fillOpacity="0" showInline="true">'
        f'<Label value="{FACE_BOX}" background="{_BOX_COLOUR}" hotkey="{_BOX_HOTKEY}"/></RectangleLabels>'
        f'<Image name="{IMAGE}" value="${IMAGE}" zoom="true" zoomControl="true" brightnessControl="true" '
        f'contrastControl="true" smoothing="false" maxHeight="{_PICTURE_HEIGHT}"/>'
        "</View>"
        '<View style="flex:0 0 250px;max-width:250px">'
        f'<Header size="6" value={quoteattr(_HOW_TO)}/>'
        '<Header size="5" value="verdict"/>'
        f'<Choices name="{VERDICT}" toName="{IMAGE}" choice="single-radio">{verdicts}</Choices>'
        f'<TextArea name="{NOTE}" toName="{IMAGE}" rows="1" maxSubmissions="1" showSubmitButton="false" '
        'placeholder="note"/>'
        f'<View visibleWhen="no-region-selected"><Header size="6" value={quoteattr(_HOW_TO_CHOOSE)}/></View>'
        f"{region_choices}"
        "</View></View>"
    )


def _region_choices(name: str, values: tuple[str, ...]) -> str:
    return "".join(
        f"<Choice value={quoteattr(value)} hotkey={quoteattr(f'{_REGION_MODIFIERS[name]}+{number % 10}')}/>"
        for number, value in enumerate(values, start=1)
    )


def _hex(label: Label) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in LABEL_COLOURS[label])
