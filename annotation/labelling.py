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

# Names of the values in a task's `data`.
SAMPLE_ID = "sample_id"
ITEM_KEY = "item_key"

_HOTKEYS = {Label.FACE_MASK: "m", Label.FACE: "f", Label.OCCLUDER: "o", Label.STRAP: "s"}
_BOX_COLOUR = "#ffab00"


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
        f'<Choices name={quoteattr(name)} toName="{IMAGE}" perRegion="true" choice="single-radio">'
        f"{_choices(values)}</Choices></View>"
        for name, values in REGION_CHOICES.items()
    )
    return (
        '<View style="display:flex;gap:16px;align-items:flex-start">'
        '<View style="flex:1 1 auto;min-width:0">'
        f'<BrushLabels name="{BRUSH}" toName="{IMAGE}" opacity="0.45" showInline="true">{brushes}'
        "</BrushLabels>"
        f'<RectangleLabels name="{BOX}" toName="{IMAGE}" strokeWidth="2" fillOpacity="0" showInline="true">'
        f'<Label value="{FACE_BOX}" background="{_BOX_COLOUR}" hotkey="b"/></RectangleLabels>'
        f'<Image name="{IMAGE}" value="${IMAGE}" zoom="true" zoomControl="true" brightnessControl="true" '
        'contrastControl="true" smoothing="false"/>'
        "</View>"
        '<View style="flex:0 0 220px">'
        '<Header size="5" value="verdict"/>'
        f'<Choices name="{VERDICT}" toName="{IMAGE}" choice="single-radio">{_choices((ACCEPT, FIX, REJECT))}'
        "</Choices>"
        f'<TextArea name="{NOTE}" toName="{IMAGE}" rows="2" maxSubmissions="1" placeholder="note"/>'
        f"{region_choices}"
        "</View></View>"
    )


def _choices(values: tuple[str, ...]) -> str:
    return "".join(f"<Choice value={quoteattr(value)}/>" for value in values)


def _hex(label: Label) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in LABEL_COLOURS[label])
