"""Synthetic people made by other processes while a model learns from them, straight into the memory it reads."""

from __future__ import annotations

from concurrent.futures import Future, ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semreid.atlas import SIZE
from semreid.data.images import decode_image
from semreid.data.sample import Sample
from semreid.data.sampler import Indices
from semreid.data.store import Store
from semreid.errors import SemreidError
from semreid.host import sent
from semreid.parallel import cores
from semreid.people.dataset import PeopleRecipe, installed, result_of, work_alone
from semreid.people.shots import Shot, create_person, shoot

ROUNDS = 16
"""Rounds after which somebody has passed all cameras, and passes them again for other pictures."""


class Pictures(NamedTuple):
    """What the cameras see of a person in one round: images (K, H, W, 3), masks (K, H, W), texture (256, 256, 3)."""

    pid: int
    number: int
    images: NDArray[np.uint8]
    regions: NDArray[np.uint8]
    texture: NDArray[np.uint8]


def take_pictures(recipe: PeopleRecipe, pid: int, number: int) -> Pictures:
    """Take pictures of a person, others in every round, compressed as the cameras do.

    Args:
        recipe: The people; ``images_per_identity`` pictures are taken, each by another camera if there are so many.
        pid: The person, from 1.
        number: The round, from 0.

    Returns:
        The pictures, the same for the same arguments.

    Example:
        >>> take_pictures(PeopleRecipe(4, 2, height=64, width=32), pid=1, number=5).images.shape
        (2, 64, 32, 3)
    """
    k = recipe.images_per_identity
    passed, turn = divmod(number, ROUNDS)
    numbers = [(passed * k + picture) * ROUNDS + turn for picture in range(k)]
    person, total = create_person(recipe.seed, pid), k * ROUNDS
    shots = list(shoot(person, installed(recipe), total, total, recipe.seed, recipe.size, numbers=numbers))
    images = np.stack([_compressed(shot) for shot in shots])
    return Pictures(pid, number, images, np.stack([shot.parts for shot in shots]), person.texture)


def _compressed(shot: Shot) -> NDArray[np.uint8]:
    """The image as it comes out of a JPEG file of the camera."""
    file = cv2.imencode(".jpg", shot.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, shot.camera.jpeg_quality])[1]
    return decode_image(file.tobytes(), "a synthetic picture")


class LivePeople:
    """A store of synthetic people that is filled and renewed while a model learns.

    Other processes take pictures of one person after the other, and when all are in, of the first again, by other
    cameras: the people stay, so their classes do. No picture is written to a disk, only the places of the cameras, to a
    temporary folder. Use it as a context, so that those processes end and that folder goes.

    Args:
        recipe: The people, and how many pictures of each the store holds at a time.
        device: Where the store lies.
        processes: How many take pictures; all cores but one if 0.
        textures: Keep textures, too.

    Attributes:
        store: The pictures with masks, a row for each, those of a person behind one another; zeros until they are made.
            Cameras are not noted: they change.
        made: How many pictures have been made.
    """

    def __init__(
        self, recipe: PeopleRecipe, device: torch.device, *, processes: int = 0, textures: bool = False
    ) -> None:
        self.recipe, self.made = recipe, 0
        people, k = recipe.identities, recipe.images_per_identity
        samples = tuple(Sample(Path(f"{row:07d}.jpg"), row // k + 1, 0) for row in range(people * k))

        def room(*shape: int) -> Tensor:
            return torch.zeros(people * k, *shape, dtype=torch.uint8, device=device)

        skins = room(SIZE, SIZE, 3) if textures else None
        self.store = Store(samples, room(*recipe.size, 3), room(*recipe.size), skins)
        self._round: dict[int, int] = {}  # of the pictures of each person who has any
        self._turns = ((pid, number) for number in count() for pid in range(1, people + 1))
        workers = processes or max(1, cores() - 1)
        self._places = TemporaryDirectory(prefix="semreid-places-", ignore_cleanup_errors=True)
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), work_alone, (Path(self._places.name),))
        self._pending = [self._next() for _ in range(2 * workers)]

    def __enter__(self) -> LivePeople:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._places.cleanup()

    @property
    def people(self) -> int:
        """How many people have pictures by now."""
        return len(self._round)

    def renew(self) -> int:
        """Take in what was finished since the last call, without waiting.

        Returns:
            How many pictures are new.
        """
        before = self.made
        for place, future in enumerate(self._pending):
            if future.done():
                self._put(result_of(future))
                self._pending[place] = self._next()
        return self.made - before

    def wait_for(self, people: int) -> None:
        """Renew until so many people have pictures.

        Args:
            people: The number.

        Raises:
            SemreidError: If there are not as many people.
        """
        if people > self.recipe.identities:
            raise SemreidError(f"there are {self.recipe.identities} people, not {people}", fix="make more identities")
        while self.people < people:
            if not self.renew():
                sleep(0.01)

    def rows(self, P: int, K: int, rng: np.random.Generator) -> Indices:
        """Draw a batch among the people who have pictures.

        Args:
            P: How many of them.
            K: How many pictures of each.
            rng: Source of the randomness.

        Returns:
            Rows of the store, (P * K,), grouped by person; for :meth:`semreid.training.trainer.Trainer.batch`.
        """
        k = self.recipe.images_per_identity
        chosen = rng.choice(list(self._round), P, replace=False)
        return np.concatenate([(pid - 1) * k + rng.choice(k, K, replace=k < K) for pid in chosen])

    def _next(self) -> Future[Pictures]:
        return self._pool.submit(take_pictures, self.recipe, *next(self._turns))

    def _put(self, found: Pictures) -> None:
        if found.number < self._round.get(found.pid, 0):
            return  # those of a later round are here
        k, device = self.recipe.images_per_identity, self.store.images.device
        rows = slice((found.pid - 1) * k, found.pid * k)
        for array, new in zip((self.store.images, self.store.regions, self.store.textures), found[2:], strict=True):
            if array is not None:
                array[rows] = sent(torch.from_numpy(new), device)
        self._round[found.pid] = found.number
        self.made += k
