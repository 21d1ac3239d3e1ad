"""The command line. Commands are plain functions; their flags come from their signatures.

Results go to stdout, progress and logs to stderr. Exit status: 0 done, 1 the job could not be done honestly
(the message says why and the way out), 2 usage, 70 a fault of semreid (SEMREID_DEBUG=1 shows where).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.table import Table
from typer.core import TyperCommand, TyperOption

from semreid import distributed
from semreid.console import Json, command, draw, interruptible, progress, say, show, stderr, warn, write
from semreid.data.benchmarks import load_dataset
from semreid.data.cli import Data, SkipCorrupt, dataset_of, datasets, doctor
from semreid.data.doctor import is_small
from semreid.data.images import read_image
from semreid.data.listing import left_out
from semreid.data.sample import MAX_CAMID
from semreid.errors import SemreidError
from semreid.explain.cli import explain, stages, texture
from semreid.explain.page import OWN_PAGE
from semreid.explain.people import group
from semreid.explain.texts import percent_text
from semreid.files import require_apart, require_own, require_suffix, require_writable, write_json, write_text
from semreid.functional.calibration import Calibration, Verdict
from semreid.functional.pairs import Rate
from semreid.gallery.cli import app as gallery_app
from semreid.models.cli import FirstModel, Model, ModelOption, embedder_of, models, no_model
from semreid.models.exported import ExportedModel, is_exported
from semreid.models.loading import has_random_weights, told_untrained
from semreid.models.shipped import DEFAULT, is_shipped
from semreid.plots import OWN, require_matplotlib
from semreid.reading import brief
from semreid.teachers.cli import label
from semreid.tracking.cli import link, tracks
from semreid.training.cli import CropsArgument, adapt, average, crops_from, train, way_to_group
from semreid.training.record import run_files
from semreid.version import __version__

if TYPE_CHECKING:
    from semreid.export import Exported
    from semreid.models.model import ReIDModel

app = typer.Typer(
    help="Semantics-aligned person re-identification: train, judge and use.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # NAME[/VARIANT] is no markup
    pretty_exceptions_enable=False,
)
app.add_typer(gallery_app, name="gallery", help="Fill, search and keep galleries of crops.")
for _each in (datasets, doctor, models, train, average, adapt, explain, stages, texture, label, group, tracks, link):
    app.command()(_each)
SHARED = ("train", "evaluate", "embed", "gallery add")
"""Commands that several processes of torchrun share."""
RENAMED = {"--part": "--split"}
"""Flags of earlier versions, and what they are called now."""
FAULT = 70
"""What sysexits.h calls EX_SOFTWARE."""
SIZE = ("x", range(1, 10**10), "size", "HEIGHTxWIDTH, such as 256x128")
CAMERAS = (",", range(MAX_CAMID + 1), "cameras", f"two camera numbers from 0 to {MAX_CAMID}, such as 1,2")
"""How options of two numbers are written, as `_pair` reads them."""
MOST_SIDE = 2048
"""Pixels of a side of the images that recipes train on."""


def _tell_version(wanted: bool) -> None:
    if wanted:
        write(f"semreid {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which version this is, and exit."),
    ] = False,
) -> None:
    pass


@app.command()
def synthesize(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    identities: Annotated[int, typer.Option("--identities", help="Number of people; a quarter is for testing.")],
    images_per_identity: Annotated[int, typer.Option("--images-per-identity", help="Pictures of each.")],
    seed: Annotated[int, typer.Option("--seed", help="Another seed, other people.")] = 0,
    size: Annotated[str, typer.Option("--size", help="HEIGHTxWIDTH of the pictures.")] = "256x128",
    cameras: Annotated[int, typer.Option("--cameras", help="Cameras in the network; 0: one to ten people.")] = 0,
    occlusion: Annotated[
        float | None,
        typer.Option("--occlusion", help="How often people are partly hidden, 0 to 1."),
    ] = None,
    preview: Annotated[
        Path | None, typer.Option("--preview", help="PNG to draw first: textures, pictures, masks of a few.")
    ] = None,
) -> None:
    """Make a data set of synthetic people with masks and textures; the same command continues after a stop."""
    from semreid.people.dataset import PeopleRecipe, require_free, save_contact_sheet
    from semreid.people.dataset import synthesize as run

    height, width = _pair(size, *SIZE) or (256, 128)
    recipe = PeopleRecipe(identities, images_per_identity, seed, height, width, cameras, occlusion)
    if preview is not None:
        require_suffix(preview, ".png", "a PNG picture")
        if out.resolve() in preview.resolve().parents:
            raise SemreidError(
                f"{preview} lies in {out}, which is yet to be made", fix="choose a place outside for --preview"
            )
        _outputs(preview, inputs=())
        require_free(recipe, out)
        save_contact_sheet(recipe, preview)
    with interruptible(lambda: "the same command goes on"), progress("making people") as told:
        run(recipe, out, progress=told)
    say(f"made: {out}. Next: {command('doctor', f'people:{out}')}")


@app.command()
def selftrain(
    out: Annotated[Path, typer.Option("--out", help="Folder to make, for the runs and tables of all steps.")],
    crops: CropsArgument = None,
    start: Annotated[
        str, typer.Option("--from", help="Model to begin with: one that ships, or a run folder.")
    ] = DEFAULT,
    data: Annotated[str, typer.Option("--data", help="NAME[/VARIANT]:PATH: its training part.")] = "",
    gallery: Annotated[str, typer.Option("--gallery", help="Instead of CROPS: those of a gallery.")] = "",
    turns: Annotated[int, typer.Option("--turns", min=1, help="How often all steps are done.")] = 2,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of `adapt` in each.")] = 5,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Batches of each round.")] = 250,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Epochs of `train` in each.")] = 12,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Decides everything random.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the step that was not done.")] = False,
    skip_corrupt: SkipCorrupt = False,
) -> None:
    """Make a model of your own crops, without identities: adapt, group, train on the groups, and all of it again."""
    from semreid.explain.selftrain import Turn, self_train

    seen = crops_from(crops, data, gallery=gallery, skip_corrupt=skip_corrupt)
    with interruptible(lambda: "the same command with --resume goes on"):
        model = self_train(seen, start, out, Turn(rounds, steps, epochs, seed), turns=turns, resume=resume)
    say(f"learned: {model}, by the people of {out / f'people{turns}.html'}: look at them")
    if data and load_dataset(data).query:
        say(f"how good it is: {command('evaluate', model, '--data', data, *['--skip-corrupt'] * skip_corrupt)}")
    else:
        say("how good it is, no crop without names can tell")
    say(f"next: {way_to_group(model, crops, data, gallery=gallery, skip_corrupt=skip_corrupt)}")


@app.command()
def evaluate(
    data: Data,
    model: Model = DEFAULT,
    rerank: Annotated[bool, typer.Option("--rerank", help="k-reciprocal re-ranking (transductive).")] = False,
    flip: Annotated[bool, typer.Option("--flip", help="Average each embedding with that of the mirror image.")] = False,
    center_cameras: Annotated[
        bool, typer.Option("--center-cameras", help="Subtract the mean embedding of each camera (transductive).")
    ] = False,
    metric: Annotated[
        Literal["cosine", "euclidean"],
        typer.Option("--metric", help="euclidean compares embeddings as they are, as some released code does."),
    ] = "cosine",
    map_within: Annotated[
        int | None, typer.Option("--map-within", help="Report also the mAP of the first so many ranks, such as 50.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write report.json here.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with curves and examples here.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw CMC and scores into this PNG file.")] = None,
    json_: Json = False,
    skip_corrupt: SkipCorrupt = False,
) -> None:
    """Judge a model by the protocol of a data set, with intervals; under torchrun, on all its processes."""
    from semreid.evaluation.protocol import evaluate as judge
    from semreid.explain.page import evaluation_page
    from semreid.explain.sheet import save_evaluation
    from semreid.verification.calibrate import seen_before

    place = os.path.expanduser(data.partition(":")[2])  # noqa: PTH111 - may be no path at all
    _outputs(out, html, plot, inputs=(model, place))
    _require_results(out, html, plot)
    with distributed.process_group():
        loaded, dataset = embedder_of(model), dataset_of(data, skip_corrupt=skip_corrupt)
        seen = distributed.by_first(partial(seen_before, _trained_on(model, loaded), dataset))
        warn(*seen)
        dataset = replace(dataset, warnings=(*dataset.warnings, *seen))
        weights = "none: random weights" if has_random_weights(model, loaded) else "last epoch"
        with progress("decoding") as told:
            evaluation = judge(
                loaded,
                dataset,
                flip=flip,
                center_cameras=center_cameras,
                rerank=rerank,
                checkpoint=weights,
                metric=metric,
                map_within=map_within,
                progress=told,
            )
        if distributed.rank() > 0:
            return
    content = {"model": model, **evaluation.to_json()}
    warn(*content["protocol"]["warnings"][len(dataset.warnings) :])  # those of the data were told before
    if out is not None:
        write_json(out, content)
    if html is not None:
        write_text(html, evaluation_page(evaluation, model))
    if plot is not None:
        save_evaluation(evaluation, plot)
    show(content) if json_ else _show_report(content)


@app.command()
def calibrate(
    data: Data,
    model: Annotated[
        str,
        typer.Argument(
            help="Run folder or card file, whose card the calibration goes into; or a model that ships, with --out."
        ),
    ] = DEFAULT,
    far: Annotated[
        list[float] | None, typer.Option("--far", help="False-accept rate to find a threshold for; may be repeated.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="heldout (kept out of training by the recipe), test, or all (of other data)."),
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Average each embedding with that of the mirror image.")] = False,
    per_camera_pair: Annotated[
        bool, typer.Option("--per-camera-pair", help="Find thresholds for each pair of cameras too.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for calibration.json and calibration.png.")] = None,
    json_: Json = False,
    skip_corrupt: SkipCorrupt = False,
) -> None:
    """Learn what a model's scores mean, on people that it was not trained on."""
    from semreid.models.card import CALIBRATED, card_file, read_card, save_calibration
    from semreid.models.loading import load_model
    from semreid.verification.calibrate import calibrate_model
    from semreid.verification.plot import save_plot

    read_card(model)
    if not is_shipped(model):
        require_writable(card_file(model))
    elif out is None:
        raise SemreidError(f"{model} ships with semreid, and its card stays as it is", fix="name a folder with --out")
    if out is not None:
        require_matplotlib()
        require_writable(out / CALIBRATED)
    loaded, dataset = load_model(model).to(distributed.local_device()), dataset_of(data, skip_corrupt=skip_corrupt)
    options: dict[str, Any] = {"split": split, "fars": far, "flip": flip, "per_camera_pair": per_camera_pair}
    with progress("decoding") as told:
        report = calibrate_model(loaded, model, dataset, progress=told, **options)
    warn(*report.warnings)
    if out is not None:
        write_json(out / CALIBRATED, report.to_json())
        save_plot(report, out / "calibration.png", f"Calibration of {model} on {dataset.name}")
    if not is_shipped(model):
        save_calibration(model, report.calibration)
    show(report.to_json()) if json_ else _show_calibration(report.calibration)
    kept = ["--calibration", out / CALIBRATED] if is_shipped(model) and out is not None else []
    say(f"calibrated: {out if kept else card_file(model)}. Next: {command('verify', model, 'A', 'B', *kept)}")


@app.command()
def verify(
    model: FirstModel = None,
    a: Annotated[Path | None, typer.Argument(metavar="A", help="An image.")] = None,
    b: Annotated[Path | None, typer.Argument(metavar="B", help="Another image.")] = None,
    far: Annotated[
        float | None, typer.Option("--far", help="False-accept rate to decide at; one that was calibrated for.")
    ] = None,
    prior: Annotated[float, typer.Option("--prior", help="Probability of one person, before looking.")] = 0.5,
    cameras: Annotated[
        str, typer.Option("--cameras", help="The cameras of the two, such as 1,2; else those that both names tell.")
    ] = "",
    calibration: Annotated[
        str, typer.Option("--calibration", help="Run folder, card or calibration.json, for an exported file.")
    ] = "",
    json_: Json = False,
) -> None:
    """Tell whether two crops show one person: probability, and decision at a stated false-accept rate."""
    from semreid.verification.verifier import load_verifier

    if model is None or a is None:
        raise typer.BadParameter("give two images: A B")
    if b is None:
        model, a, b = DEFAULT, no_model(model, "A.jpg B.jpg", f"{a} is the only image"), a
    verifier = load_verifier(model, calibration or model, device=distributed.local_device())
    verdict = verifier.verify(a, b, far=far, prior=prior, cameras=_pair(cameras, *CAMERAS))
    for crop in (a, b):
        height, width, _ = read_image(crop).shape
        if is_small(height, width):
            warn(f"{crop} has {width}×{height} pixels, which show little of a person: do not rely on the answer")
    basis = verifier.calibration.basis
    show({**asdict(verdict), "basis": basis}) if json_ else _show_verdict(verdict, basis)


@app.command()
def embed(
    out: Annotated[Path, typer.Option("--out", help="Parquet file: path, camid, vector.")],
    model: FirstModel = None,
    images: Annotated[
        Path | None, typer.Argument(metavar="IMAGES", help="An image, or a folder that is searched for images.")
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Average each embedding with that of the mirror image.")] = False,
    skip_corrupt: SkipCorrupt = False,
) -> None:
    """Embed images into a Parquet file with path, camera (where file name or folder tells it) and unit vector.

    Under torchrun, all its processes share the images.
    """
    from semreid.evaluation.embeddings import embed_files

    if model is None:
        raise typer.BadParameter("give an image, or a folder: IMAGES")
    if images is None:
        model, images = DEFAULT, no_model(model, "IMAGES --out FILE", "no image is named")
    require_suffix(out, ".parquet", "a Parquet file")
    _outputs(out, inputs=(model, images))
    if images.is_dir() and (lost := left_out(images)):
        warn(lost)
    with distributed.process_group():
        with progress("embedding") as told:
            done, skipped = embed_files(
                embedder_of(model), images, out, flip=flip, skip_corrupt=skip_corrupt, progress=told
            )
        if distributed.rank() > 0:
            return
    for problem in skipped:
        say(f"skipped: {problem}", style="yellow")
    typer.echo(f"{done} embeddings in {out}; {len(skipped)} images skipped")


@app.command()
def info(
    model: Model = DEFAULT,
    input_: Annotated[str, typer.Option("--input", help="Input size HxW to count operations at.")] = "",
) -> None:
    """Describe a model as JSON: parameters_without_classifiers, embedding_dim, macs, heads, and its card."""
    from semreid.models.card import is_untrained, read_card
    from semreid.models.exported import open_exported
    from semreid.models.loading import load_model

    if is_exported(model):
        show(asdict(open_exported(Path(model)).metadata))
        return
    card = {} if is_untrained(model) else {"card": read_card(model).to_json()}
    size = _pair(input_, *SIZE)
    if size and max(size) > MOST_SIDE:
        raise SemreidError(
            f"--input {size[0]}x{size[1]} is larger than any model takes",
            fix=f"choose sides of up to {MOST_SIDE} pixels",
        )
    show({**told_untrained(model, load_model(model)).info(size), **card})


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="File to write: .onnx, or .xml (and .bin) for OpenVINO.")],
    model: Model = DEFAULT,
    format_: Annotated[Literal["onnx", "openvino"], typer.Option("--format", help="Format of the file.")] = "onnx",
    float_input: Annotated[
        bool, typer.Option("--float-input", help="Take images that other programs have normalised (ONNX only).")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Compute in eight bits; needs --data.")] = False,
    data: Annotated[
        str, typer.Option("--data", help="NAME[/VARIANT]:PATH to calibrate int8 with and measure its loss on.")
    ] = "",
    max_map_loss: Annotated[
        float, typer.Option("--max-map-loss", help="Points of mAP that int8 may lose; above it, nothing is kept.")
    ] = 0.5,
    json_: Json = False,
) -> None:
    """Export a model to a file for onnxruntime or OpenVINO, checked before it is kept."""
    from semreid.export import export_model
    from semreid.export.agreement import Int8

    if int8 != bool(data):
        raise SemreidError("int8 needs data, and nothing else does", fix="give both --int8 and --data, or neither")
    wish = Int8(dataset_of(data), max_map_loss) if int8 else None
    with progress("decoding") as told:
        done = export_model(model, out, kind=format_, float_input=float_input, int8=wish, progress=told)
    show(done.to_json()) if json_ else _show_exported(done)


@app.command()
def serve(
    gallery: Annotated[
        str, typer.Option("--gallery", help="FOLDER.db, FILE.parquet, or http://HOST:PORT[/DATABASE][#NAME] of Milvus.")
    ],
    model: ModelOption = DEFAULT,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any that is free.")] = 8000,
    host: Annotated[str, typer.Option("--host", help="Where to listen; 0.0.0.0 for other machines too.")] = "127.0.0.1",
    images: Annotated[
        list[Path] | None, typer.Option("--images", help="Folder to show pictures from, the current one if not given.")
    ] = None,
    uploads: Annotated[
        Path | None, typer.Option("--uploads", help="Let rows be added, removed and corrected; uploads go here.")
    ] = None,
    token: Annotated[
        str, typer.Option("--token", envvar="SEMREID_SERVE_TOKEN", help="What everybody who asks must know.")
    ] = "",
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Be reached from other machines without a token all the same.")
    ] = False,
    calibration: Annotated[
        str, typer.Option("--calibration", help="Run folder, card or calibration.json, for an exported file.")
    ] = "",
) -> None:
    """Answer searches over a gallery: a page for people, an API for programs; until interrupted."""
    from semreid.serving import require_web

    require_web()
    from semreid.serving.server import access_at, open_service
    from semreid.serving.server import serve as run

    access = access_at(host, token, no_token=no_token)
    service = open_service(
        gallery, embedder_of(model), calibration=calibration or model, images=images or [Path()], uploads=uploads
    )
    name = service.gallery.uri  # without a password
    if service.judge.reason:
        say(f"no probabilities: {service.judge.reason}", style="yellow")
    with interruptible(lambda: "the server has ended"):
        run(service, access, host=host, port=port, ready=lambda address: say(f"serving {name} at {address}"))


@app.command()
def demo(
    data: Annotated[
        str, typer.Option("--data", help="NAME[/VARIANT]:PATH of crops to work on instead of synthetic people.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to make; demo, demo-trained or demo-MODEL if left out.")
    ] = None,
    model: ModelOption = DEFAULT,
    trained: Annotated[
        bool, typer.Option("--train", help="Train a small model first, in minutes, instead of taking one.")
    ] = False,
) -> None:
    """Do the main job in a minute: make people, fill a gallery, judge all searches, explain one, end with its page.

    Once more, it goes on with what it made.
    """
    from semreid.demo import run_demo

    if trained and model != DEFAULT:
        raise SemreidError("--train makes a model, and --model names one", fix="leave out one of the two")
    name = "trained" if trained else Path(model).name
    out = out or Path("demo" if name == DEFAULT else f"demo-{name}")
    with interruptible(lambda: "the same command goes on with what it made"), progress("making people") as told:
        report = run_demo(data, out, model=model, trained=trained, progress=told)
    _show_report(report)
    say(f"all searches: {out / 'report.html'}; the middle one, explained: {out / 'search' / 'explanation.html'}")
    named = [] if name == DEFAULT else ["--model", out / "run" if trained else model]
    say(f"to search on a page: {command('serve', '--gallery', out / 'gallery.parquet', *named)}")


class _Command(TyperCommand):
    """A command that refuses an option given twice instead of forgetting the first, and that may be interrupted."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        order = self.make_parser(ctx).parse_args(args=list(args))[2]
        for param, count in Counter(order).items():
            if count > 1 and isinstance(param, TyperOption) and not (param.multiple or param.is_flag):
                raise typer.BadParameter(f"{param.opts[0]} is given {count} times: it takes one value")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401 - what a command returns
        """Run the command; after Ctrl-C, one that does not say itself how to go on begins anew."""
        with interruptible(lambda: "the same command begins anew"):
            return super().invoke(ctx)


for _command in (*app.registered_commands, *gallery_app.registered_commands):
    _command.cls = _Command


def main() -> None:
    """Run the command line."""
    _open_streams()
    _look_at(sys.argv)
    _require_shared(sys.argv[1:])
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # now, where a full disk can still be told
    except distributed.LostProcessError as error:
        way_out = "look for what it said; one that was killed says nothing (was the memory too small?)"
        _fail(f"error: {error}\n  way out: {way_out}", 1, patience=5)
    except SemreidError as error:
        _fail(f"error: {error}", 1)
    except BrokenPipeError:
        _fail("", 1)  # whoever read the results has seen enough
    except OSError as error:
        what = f"{brief(error.filename)}: {error.strerror}" if error.filename else brief(error)
        _fail(f"error: {what}\n  way out: check the path, your rights to it, and the free space of the disk", 1)
    except Exception as error:
        if os.environ.get("SEMREID_DEBUG") == "1":
            raise
        what = f"{type(error).__name__}: {brief(error)}"
        _fail(f"error: this is a fault of semreid {__version__}, please report it: {what}", FAULT)


def _open_streams() -> None:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started the program, and wants to hear nothing
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as it runs
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names and × where the terminal knows ASCII only


def _look_at(arguments: Sequence[str]) -> None:
    """Refuse what no command takes: flags of earlier versions, and nothing, which as a path is the current folder."""
    for before, argument in pairwise(arguments):
        flag, equals, value = argument.partition("=")
        if new := RENAMED.get(flag):
            _fail(f"error: the flag {flag} is now {new}", 2)
        if not argument or (flag.startswith("--") and equals and not value):
            where = f"what is behind {flag}=" if flag else f"the argument behind {brief(before)}"
            way_out = "write what it is to be, or leave it out; was it a variable that the shell does not know?"
            _fail(f"error: {where} is empty\n  way out: {way_out}", 2)


def _require_shared(arguments: Sequence[str]) -> None:
    """Refuse torchrun where each process would do the whole job, and write over what the others wrote."""
    command = " ".join(arguments[: 1 + (arguments[:1] == ["gallery"])])
    if distributed.launched() and int(os.environ["WORLD_SIZE"]) > 1 and command not in SHARED:
        way_out = f"run it without torchrun; processes share {', '.join(SHARED)}"
        _fail(f"error: `semreid {command}` is for one process\n  way out: {way_out}", 2)


def _fail(text: str, status: int, patience: int = 0) -> NoReturn:
    """Say why, and exit.

    torchrun ends all processes as soon as one has ended. So the first says at once what all of them would, another one
    after some seconds what it alone may know, and one that only knows that another has ended waits for that.
    """
    number = distributed.launched_as()
    apart = distributed.launched() and distributed.world_size() == 1
    if text and apart and (seconds := patience or (2 if number else 0)):
        time.sleep(seconds)
    with contextlib.suppress(OSError):
        if text and apart and number:
            stderr.print(f"process {number}: {text}", style="bold red", soft_wrap=True)
        elif text:
            say(text, style="bold red")
        sys.stdout.flush()
        sys.exit(status)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left could not be written at exit either
    sys.exit(status)


def _outputs(*files: Path | None, inputs: Iterable[Path | str]) -> None:
    """Refuse, before the job, what cannot be written, would be written twice, or over an input or a file of a run."""
    wanted = [file for file in files if file is not None]
    for file in wanted:
        require_writable(file)
    require_apart(wanted, inputs)
    require_apart(wanted, [each for file in wanted for each in run_files(file.resolve().parent)], "a file of a run")


def _require_results(report: Path | None, page: Path | None, plot: Path | None) -> None:
    """Refuse, before the job, to write what an evaluation leaves under another kind of name, or over another file."""
    for file, suffix, what, mark in (
        (report, ".json", "a report", b'"metrics": {'),
        (page, ".html", "a page", OWN_PAGE),
        (plot, ".png", "a PNG picture", OWN),
    ):
        if file is not None:
            require_suffix(file, suffix, what)
            require_own(file, mark)
    if plot is not None:
        require_matplotlib()


def _trained_on(path: str, model: ReIDModel | ExportedModel) -> Mapping[str, Any]:
    """What the card of a model says that it learned from; nothing if it has random weights."""
    from semreid.models.card import read_card

    if has_random_weights(path, model):
        return {}
    trained_on: Mapping[str, Any] = (
        model.metadata.card.get("trained_on", {}) if isinstance(model, ExportedModel) else read_card(path).trained_on
    )
    return trained_on


def _pair(text: str, between: str, allowed: range, what: str, form: str) -> tuple[int, int] | None:
    """Two whole numbers that are written as one option; None where nothing is."""
    if not text:
        return None
    cells = text.split(between)
    pair = [int(cell) for cell in cells if re.fullmatch(r"\d{1,10}", cell, re.ASCII)]
    if not len(cells) == len(pair) == 2 or not all(number in allowed for number in pair):
        raise SemreidError(f"cannot read the {what} '{brief(text)}'", fix=f"write {form}")
    return pair[0], pair[1]


def _show_report(content: Mapping[str, Any]) -> None:
    table = Table("metric", "%", "95 % interval", title=str(content["protocol"]["dataset"]))
    for name, value in content["metrics"].items():
        low_high = content["ci95"].get(name)
        table.add_row(name, f"{value:.1f}", f"{low_high[0]:.1f} to {low_high[1]:.1f}" if low_high else "")
    draw(table)
    counts = ", ".join(f"{name} {value:,}" for name, value in content["counts"].items())
    extras = [name.replace("_", " ") for name in ("flip", "center_cameras", "rerank") if content["protocol"][name]]
    extras += ["euclidean distance of raw embeddings"] if content["protocol"]["distance"] == "euclidean" else []
    write(counts + (f"; with {' and '.join(extras)}" if extras else ""))


def _show_calibration(calibration: Calibration) -> None:
    counts, made_on = calibration.counts, calibration.made_on
    columns = ("FAR", "measured, %", "threshold", "TAR, %", "FAR elsewhere, %")
    table = Table(*columns, title=f"{made_on['dataset']}, split {made_on['split']}")
    for point, check in zip(calibration.points, calibration.cross_check, strict=True):
        elsewhere = ", ".join(_digits(100 * far, 2) for far in check.far)
        table.add_row(
            f"{point.asked_far:g}", _percent(point.far), f"{point.threshold:.4f}", _percent(point.tar), elsewhere
        )
    draw(table)
    lines = [
        f"{counts['people']:,} people in {counts['cameras']} cameras: {counts['genuine']:,} genuine and "
        f"{counts['impostor']:,} impostor pairs; equal error rate {calibration.eer:.1%}",
        f"probabilities: {calibration.method} map; on other people than it was fitted to, expected calibration "
        f"error {calibration.ece:.1%}, log-loss {calibration.log_loss:.2f} bits (a coin: 1)",
    ]
    if calibration.camera_pairs:
        lines.append(f"thresholds of their own have the cameras {', '.join(calibration.camera_pairs)}")
    lines += [
        f"search among {point.gallery:,} images, a false alarm in {point.asked_far:.0%} of the searches for strangers: "
        f"{_percent(point.dir)} % of the searches for known people found them"
        for point in calibration.identification
    ]
    write(*lines)


def _percent(rate: Rate) -> str:
    return f"{_digits(100 * rate.value, 3)} [{_digits(100 * rate.low, 2)}, {_digits(100 * rate.high, 2)}]"


def _digits(value: float, digits: int) -> str:
    """A number of so many digits that count: 100, and not 1e+02."""
    return f"{float(f'{value:.{digits}g}'):g}"


def _show_verdict(verdict: Verdict, basis: str) -> None:
    cameras = f" for cameras {verdict.cameras}" if verdict.cameras else ""
    decision = "one person" if verdict.same else "not accepted as one person"
    write(
        f"probability that they are one person: {percent_text(verdict.probability)} (before looking: "
        f"{percent_text(verdict.prior)})",
        f"decision by the score alone: {decision}, at a false-accept rate of {verdict.asked_far:g} "
        f"(95 % interval {verdict.far.low:.2g} to {verdict.far.high:.2g})",
        f"score {verdict.score:.4f}, threshold {verdict.threshold:.4f}{cameras}",
        basis,
    )


def _show_exported(done: Exported) -> None:
    metadata, measured = done.metadata, done.metadata.measured
    names = " and ".join(map(str, done.files))
    megabytes = sum(file.stat().st_size for file in done.files) / 1e6
    lines = [f"{names}: {metadata.precision}, {megabytes:.1f} MB, least cosine to the model {done.cosine:.7f}"]
    if measured:
        figures = (
            f"{measured['mAP']:.2f} %, in int8 {measured['mAP_int8']:.2f} %, by chance {measured['mAP_chance']:.2f} %"
        )
        lines.append(f"mAP on {measured['dataset']}: {figures}")
        cosines = f"least cosine {measured['least_cosine']:.3f}, mean {measured['mean_cosine']:.3f}"
        lines.append(f"int8 and model there: {cosines}, {measured['same_neighbours']:.0%} of the ten nearest the same")
    if metadata.terms:
        lines.append(f"terms: {metadata.terms}")
    write(*lines)
