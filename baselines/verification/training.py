"""Training MSML on faces with identities: what is drawn on them, what is learned, and the checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from baselines.checkpoint import WEIGHTS_FILE, read_tensors, read_vouched
from baselines.data import StepBatches
from baselines.loop import fit
from baselines.losses.consensus import consensus_loss
from baselines.networks.msml import FaceOutput, Msml
from baselines.optimisers import ParameterGroup
from baselines.plan import Batch, Plan, Validation
from baselines.segmenter import choose_device
from baselines.tasks import RunFacts
from baselines.verification.alignment import face_square
from baselines.verification.cutouts import Cutouts
from baselines.verification.heads import LinearHead, MarginHead
from baselines.verification.identities import IdentitySet, read_face
from baselines.verification.occlusions import MaskRenderer, Occluder
from baselines.verification.settings import NetworkSettings, VerificationSettings
from dataset_tools.core.errors import ConfigError
from dataset_tools.core.files import digest_json, sha256_file, write_text
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.seeds import generator

RECORD_FILE = "verification.json"
_NETWORK_PREFIX = "msml."


class VerificationRecord(BaseModel):
    """What a checkpoint folder holds; the content of `verification.json`.

    Attributes:
        settings: as resolved.
        facts: of the run.
        people: identities it was trained on.
        history: (step, mean training loss since the last entry) once per pass.
        faces_per_second: of the call that finished it.
        weights_sha256: of `weights.safetensors`.
        pictures_sha256: of every picture it was trained on, so that scoring can tell which pairs it knows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: VerificationSettings
    facts: RunFacts
    people: int
    history: tuple[tuple[int, float], ...]
    faces_per_second: float
    weights_sha256: str
    pictures_sha256: tuple[str, ...]


class MsmlClassifier(nn.Module):
    """MSML with the classifier that its identities are learned with.

    Args:
        settings: resolved.
        people: identities to tell apart.
    """

    def __init__(self, settings: VerificationSettings, people: int) -> None:
        super().__init__()
        self.msml = build_msml(settings.network)
        self.head: MarginHead | LinearHead
        if settings.head == "margin":
            self.head = MarginHead(self.msml.embed_dim, people, margin=settings.margin, scale=settings.scale)
        else:
            self.head = LinearHead(self.msml.embed_dim, people)

    def forward(self, faces: Tensor) -> FaceOutput:
        """As `Msml.forward`."""
        output: FaceOutput = self.msml(faces)
        return output

    def groups(self, settings: VerificationSettings) -> list[ParameterGroup]:
        """Parameters by learning rate, as multiples of the recognition branch's."""
        base = settings.frb_rate or 1.0
        parts: list[tuple[nn.Module | None, float | None]] = [
            (self.msml.frb, settings.frb_rate),
            (self.msml.osb, settings.osb_rate),
            (self.msml.masking, settings.masking_rate),
            (self.head, settings.head_rate),
        ]
        found = []
        for part, rate in parts:
            learned = [one for one in part.parameters() if one.requires_grad] if part is not None else []
            if learned:
                found.append(ParameterGroup(tuple(learned), (rate or base) / base))
        return found


def build_msml(settings: NetworkSettings) -> Msml:
    """The network of these settings, with random values."""
    return Msml(
        settings.branch,
        layers=settings.layers,
        sight=settings.sight,
        kernel=settings.kernel,
        blocks=settings.blocks,
        activation=settings.activation,
        residual=settings.residual,
        osb_depth=settings.osb_depth,
        detach=settings.detach,
        embed_dim=settings.embed_dim,
        dropout=settings.dropout,
    )


class OccludedFaces(Dataset[dict[str, Tensor]]):
    """Training faces by (epoch, index), each occluded anew in every pass.

    An item holds `faces` (3, S, S) uint8, `occluded` (S, S) uint8 in {0, 1}, `identity` and `index`. What
    comes out depends on the seed, the face and the epoch only.
    """

    def __init__(self, faces: IdentitySet, settings: VerificationSettings, occluder: Occluder) -> None:
        self._faces = faces.faces
        self._numbers = {name: number for number, name in enumerate(faces.identities)}
        self._settings = settings
        self._occluder = occluder

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, index = key
        face, settings = self._faces[index], self._settings
        square = face_square(
            read_face(face.path), face.points, settings.network.branch, settings.centre_share
        )
        rng = generator(settings.seed, face.name, str(epoch), "occlude")
        if rng.random() < settings.flip:
            square = np.ascontiguousarray(square[:, ::-1])
        shown = self._occluder.draw(square, rng)
        return {
            "faces": torch.from_numpy(np.ascontiguousarray(shown.rgb.transpose(2, 0, 1))),
            "occluded": torch.from_numpy(shown.occluded.astype(np.uint8)),
            "identity": torch.tensor(self._numbers[face.identity]),
            "index": torch.tensor(index),
        }


@dataclass(frozen=True)
class _IdentityJob:
    """What `loop.fit` asks of this training."""

    faces: IdentitySet
    settings: VerificationSettings
    occluder: Occluder
    pins_memory: bool

    def batches(self, steps: range, rank: int, world: int) -> Iterable[Batch]:
        settings = self.settings
        workers = settings.num_workers or 0
        sampler = StepBatches(
            len(self.faces.faces),
            settings.batch or 2,
            steps=steps,
            seed=settings.seed,
            rank=rank,
            world=world,
        )
        return DataLoader(
            OccludedFaces(self.faces, settings, self.occluder),
            batch_sampler=sampler,
            num_workers=workers,
            pin_memory=self.pins_memory,
            multiprocessing_context="spawn" if workers else None,
        )

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(network, MsmlClassifier)
        output = network(batch["faces"].float() / 255)
        loss: Tensor = network.head(output.embeddings, batch["identity"])
        if output.occlusion is not None:
            loss = loss + self.settings.occlusion_weight * consensus_loss(output.occlusion, batch["occluded"])
        return loss

    def names(self, indices: Sequence[int]) -> list[str]:
        return [self.faces.faces[index].name for index in indices]

    def validate(self, network: nn.Module) -> Validation | None:
        """Nothing: the paper trains for a fixed time and takes the last weights."""
        return None


def train_verification(
    settings: VerificationSettings,
    faces: IdentitySet,
    out_dir: Path,
    *,
    cutouts: Cutouts | None = None,
    masks: MaskRenderer | None = None,
    progress: ProgressFactory = silent,
) -> VerificationRecord:
    """Train MSML, or go on with a training that was interrupted in `out_dir`.

    Args:
        settings: what to train.
        faces: what to learn from.
        out_dir: of the checkpoint: `weights.safetensors` and, last, `verification.json`.
        cutouts: glasses, scarves and things to paste on faces.
        masks: puts rendered face masks on faces.
        progress: opens the progress display.

    Raises:
        ConfigError: fewer faces than one batch, or `out_dir` holds a training with other settings or data.
        DataError: a face cannot be read.
        SuiteError: the numbers broke down.
    """
    device = choose_device(settings.device)
    settings = settings.resolved(on_gpu=device.type == "cuda")
    count, batch, people = len(faces.faces), settings.batch or 2, len(faces.identities)
    if count < batch:
        raise ConfigError(f"{faces.title} has {count} faces, fewer than one batch of {batch}")
    per_pass = math.ceil(count / batch)
    plan = Plan(
        title=f"msml-{settings.network.branch}",
        last_step=settings.steps or per_pass * (settings.epochs or 1),
        device=device,
        seed=settings.seed,
        optimiser="sgd",
        learning_rate=settings.frb_rate or 1.0,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        schedule="steps",
        rate_factor=settings.rate_factor or 1.0,
        milestones=tuple(one * per_pass for one in settings.milestones or ()),
        val_every=per_pass,
        checkpoint_every=settings.checkpoint_every_steps,
        amp=bool(settings.amp),
    )
    drawn = {
        "cutouts": cutouts.digest if cutouts is not None else "",
        "masks": masks.drawn_by if masks is not None else "",
    }
    free = {"device", "num_workers", "checkpoint_every_steps"}
    kept = settings.model_dump(mode="json", exclude=free)
    fitted = fit(
        lambda wants_weights: MsmlClassifier(settings, people),
        _IdentityJob(faces, settings, Occluder(settings.occlusion, cutouts, masks), device.type == "cuda"),
        plan,
        out_dir,
        fingerprint=digest_json({"settings": kept, "faces": faces.digest, **drawn}),
        groups=lambda network: _groups(network, settings),
        progress=progress,
    )
    position = fitted.position
    facts = RunFacts(
        data=f"{faces.title} ({people} people)",
        data_digest=faces.digest,
        items=count,
        steps=position.step,
        seconds=round(position.seconds, 3),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        initial_weights=position.start_name,
        seed=settings.seed,
        settings={**kept, **drawn},
    )
    record = VerificationRecord(
        settings=settings,
        facts=facts,
        people=people,
        history=tuple((step, loss) for step, loss, _ in position.history),
        faces_per_second=round(fitted.items_per_second, 3),
        weights_sha256=sha256_file(out_dir / WEIGHTS_FILE),
        pictures_sha256=tuple(sorted({sha256_file(face.path) for face in faces.faces})),
    )
    if int(os.environ.get("RANK", "0")) == 0:  # of several processes the first one speaks for all
        write_text(out_dir / RECORD_FILE, record.model_dump_json(indent=2) + "\n")
    return record


def _groups(network: nn.Module, settings: VerificationSettings) -> list[ParameterGroup]:
    assert isinstance(network, MsmlClassifier)
    return network.groups(settings)


def load_verification(folder: Path) -> tuple[Msml, VerificationRecord]:
    """A trained network without its classifier, and what it is.

    Raises:
        DataError: as `checkpoint.read_vouched`.
    """
    record = read_vouched(
        folder / RECORD_FILE,
        VerificationRecord,
        "verification training",
        lambda record: {WEIGHTS_FILE: record.weights_sha256},
    )
    tensors = read_tensors(folder / WEIGHTS_FILE)
    network = build_msml(record.settings.network)
    network.load_state_dict(
        {
            name.removeprefix(_NETWORK_PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(_NETWORK_PREFIX)
        }
    )
    return network, record
