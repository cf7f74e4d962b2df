"""Any folder of images: DIR/train/CLASS/* with DIR/test or DIR/val, or DIR/CLASS/*, which is split."""

from pathlib import Path

from ..errors import EscrimeError
from ..imagenet import wordnet_ids
from .dataset import ImageFiles, Listed, Options, image_set, report_left_out
from .files import read_files
from .imageset import ImageSet
from .listing import LAYOUT, Listing, check_same_classes, class_folders, existing_folder, list_classes, subfolders
from .sampling import stratified_split

SPLIT_SEED = 2020
TEST_SHARE = 0.2
TRAIN_NAMES = ("train", "training", "train_set", "training_set")
_SHORT = ("test", "val", "valid", "validation", "testing", "eval", "dev", "holdout")
TEST_NAMES = (*_SHORT, "test_set", "testing_set", "val_set", "validation_set")


class Folder(ImageFiles):
    name = "folder"
    what = "your own images: DIR/train/CLASS/* and DIR/val/CLASS/*, or DIR/CLASS/*, a fifth of it to test on"
    folder = "needed"

    def listed(self, options: Options) -> Listed:
        assert options.folder is not None  # `load` refuses that: folder = "needed"
        classes, *listings = list_folder(options.folder)
        return classes, wordnet_ids(classes), listings


def images_to_judge(folder: Path | str, options: Options) -> ImageSet:
    """The images of `list_to_judge` at the size of `options`."""
    classes, files = list_to_judge(folder)
    found = read_files(files, options.size, cache=options.cache, progress=options.progress)
    report_left_out([found], [files], options.on_error)
    return image_set(Folder.name, files, found, classes, wordnet_ids(classes))


def list_folder(folder: Path | str) -> tuple[tuple[str, ...], Listing, Listing]:
    """(classes, train, test) of an image folder; the classes are the sorted folder names.

    With DIR/train, the test images are those of the first of DIR/test, val, valid, validation, … (see TEST_NAMES; and
    TRAIN_NAMES) that has class folders (ImageNet's test has none). Without any of these, a fifth of each class (at least one
    image) is the test set, drawn per file name with a fixed seed. Case does not count: Train and Val will do.

    Raises:
        EscrimeError: For a folder that is missing, empty, laid out otherwise, or whose parts have other classes.
    """
    root = existing_folder(folder)
    parts = _parts(root)
    # A folder named train without folders in it, beside others, is a class: vehicles, say.
    train, test = _part(root, parts, TRAIN_NAMES), _part(root, parts, TEST_NAMES)
    if train and (subfolders(root / train) or set(parts) <= {*TRAIN_NAMES, *TEST_NAMES}):
        classes = class_folders(root / train)
        train_files = list_classes(root, train, classes)
        if test is None:
            return _split(classes, train_files)
        check_same_classes(classes, class_folders(root / test), repr(str(root / train)), repr(str(root / test)))
        return tuple(classes), train_files, list_classes(root, test, classes)
    if test and set(parts) <= set(TEST_NAMES):
        raise EscrimeError(
            f"the data folder {str(root)!r} has {test!r} but no 'train'; {LAYOUT}. To split {test!r} itself, "
            f"give {str(root / test)!r}."
        )
    classes = class_folders(root)
    return _split(classes, list_classes(root, "", classes))


def list_to_judge(folder: Path | str) -> tuple[tuple[str, ...], Listing]:
    """(classes, images) of the images in a folder to judge a model on: the test part where DIR/train is, else all of
    DIR/CLASS/*, or of DIR/val/CLASS/* alone.

    Raises:
        EscrimeError: As `list_folder`.
    """
    root = existing_folder(folder)
    parts = _parts(root)
    if (train := _part(root, parts, TRAIN_NAMES)) and subfolders(root / train):
        classes, _, files = list_folder(root)
        return classes, files
    if (test := _part(root, parts, TEST_NAMES)) and set(parts) <= set(TEST_NAMES):
        root = root / test
    names = class_folders(root)
    return tuple(names), list_classes(root, "", names)


def _parts(root: Path) -> dict[str, str]:
    """The folders in `root` by their names in lower case; of Train and train, the latter."""
    return {name.lower(): name for name in subfolders(root)}


def _part(root: Path, parts: dict[str, str], names: tuple[str, ...]) -> str | None:
    """The first of `names` that has class folders, else the first that is there."""
    there = [parts[name] for name in names if name in parts]
    return next((name for name in there if subfolders(root / name)), there[0] if there else None)


def _split(classes: list[str], files: Listing) -> tuple[tuple[str, ...], Listing, Listing]:
    count = max(len(classes), round(TEST_SHARE * len(files.names)))
    train, test = stratified_split(count, SPLIT_SEED, files.names, files.labels, classes)
    return tuple(classes), files.select(train), files.select(test)
