"""Experiment files: what is wrong is named, with the nearest right word."""

import pytest

from escrime import PGD, AutoAttack, CarliniWagner, EscrimeError
from escrime.attacks.core.registry import by_name
from escrime.commands.run.files import read_experiment, shipped
from escrime.commands.run.overrides import apply_changes
from escrime.commands.run.schema import check_experiment
from escrime.commands.shared.folder import first_difference
from escrime.corruptions import COMMON


@pytest.fixture
def raw():
    return read_experiment("digits")[1]


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_experiments_are_valid(name):
    experiment = check_experiment(read_experiment(name)[1], name)
    assert experiment.headline > 0 and shipped()[name].exists()


def test_the_paper_is_what_imagenette_runs():
    experiment = check_experiment(read_experiment("imagenette")[1], "imagenette")
    assert list(experiment.models) == ["wide_resnet50_2", "googlenet"]
    settings = experiment.train_settings("googlenet")
    assert (settings.optimizer, settings.learning_rate, settings.momentum, settings.epochs) == ("sgd", 0.01, 0.9, 5)
    assert experiment.train_settings("googlenet", "adversarial-training").epochs == 10
    assert experiment.attacks.fgsm.epsilons == pytest.approx([i * 0.025 for i in range(13)])
    assert experiment.attacks.dgsm.epsilons == pytest.approx([i * 0.001 for i in range(16)])
    assert experiment.attacks.dgsm.target == "English springer"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("titel",), "x", "unknown key 'titel'. Did you mean 'title'"),
        (("data", "sise"), 8, "unknown key 'data.sise'. Did you mean 'size'"),
        (("models", "lenet", "weight"), "x", "unknown key 'models.lenet.weight'. Did you mean 'weights'"),
        (("defenses", "ppa", "sample"), 3, "unknown key 'defenses.ppa.sample'. Did you mean 'samples'"),
        (("attacks", "dgsm", "step"), 3, "unknown key 'attacks.dgsm.step'. Did you mean 'steps'"),
        (("training", "epoch"), 3, "Did you mean 'epochs'"),
        (("defenses", "adversarial-training", "objective"), {"name": "fgsm-mixd"}, "Did you mean 'fgsm-mixed'"),
        (("defenses", "ppa", "eps_max"), 3, "whole color range"),
        (("attacks", "fgsm", "epsilons"), ["8/0"], "divides by zero"),
        (("attacks", "fgsm", "epsilons"), [-0.1], "negative"),
        (("attacks", "fgsm", "epsilons"), [], "at least 1"),
        (("data", "limit"), 0, "mine.toml: data.limit = 0 is no number of images; give a whole number from 1."),
        (("data", "limit"), True, "data.limit = True"),
        (("data", "train_size"), 12, "train_size needs size"),
        (("seed",), -1, "mine.toml: seed = -1 is not a whole number from 0; give one."),
        (("seed",), 2**63, "less than"),
        (("defenses", "ppa", "eps_max"), True, "ε = True is not a number"),
        (("attacks", "fgsm", "epsilons"), [True, False], "ε = True is not a number"),
        (("attacks", "fgsm", "epsilons"), [0, 1e-10], "ε = 1e-10 is too small"),
        (("attacks", "dgsm", "step_size"), float("inf"), "finite"),
        (("attacks", "dgsm", "steps"), "20", "attacks.dgsm: steps = '20' is not a whole number; give one, such as 20."),
        (("attacks", "dgsm", "steps"), -1, "steps = -1 is not a whole number from 0; give one, such as 20."),
        (("attacks", "dgsm", "norm"), "l2", "DGSM works in l_inf only"),
        (("attacks", "dgsm"), {"epsilons": [0.1]}, "'attacks.dgsm.target' is missing"),
        (("attacks", "pgd"), {"epsilons": [0.1], "eps": 0.1}, "unknown key 'attacks.pgd.eps'. Did you mean 'epsilons'"),
        (("attacks", "pgd"), {"epsilons": [0.1], "loss": "hinge"}, "loss 'hinge' is unknown"),
        (("attacks", "pgd"), {"epsilons": [0.1], "early_stop": 1}, "early_stop = 1 is no switch; give true or false."),
        (("attacks", "pgd"), {"epsilons": [0.1], "step_size": "x"}, "ε = 'x' is not a number"),
        (("attacks", "pgd"), {"steps": 20}, "'attacks.pgd.epsilons' is missing"),
        (("attacks", "pgd"), 20, "attacks.pgd = 20: this is not a section"),
        (("attacks", "pdg"), {"epsilons": [0.1]}, "'pdg' is no attack's name"),
        (("attacks", "mine"), {"attack": "PDG", "epsilons": [0.1]}, "attack 'PDG' is unknown"),
        (("attacks", "mine"), {"attack": "WorstCase", "epsilons": [0.1]}, "attack 'WorstCase' is unknown"),
        (("attacks", "pgd"), {"attack": "FMN", "epsilons": [0.1]}, "called like PGD and says that it is FMN"),
        (("attacks", "FGSM"), {"epsilons": [0.1]}, "two sections of attacks are both FGSM"),
        (("attacks", "a b"), {"attack": "PGD", "epsilons": [0.1]}, "a section of attacks cannot be called 'a b'"),
        (("attacks", "stronger-pgd"), {"attack": "PGD", "epsilons": [0.1]}, "begins with 'stronger'"),
        (("attacks",), {}, "there is no attack"),
        (("models", "lenet", "head"), "foo", "'new' or 'slice'"),
        (("defenses", "adversarial-training", "objective"), {}, "it needs a name"),
        (("models", "lenet"), "lenet", "models.lenet = 'lenet': this is not a section"),
        (("models", "a/b"), {"arch": "lenet"}, "a model cannot be called 'a/b'"),
        (("models", "../x"), {"arch": "lenet"}, "a model cannot be called '../x'"),
        (("models", "α"), {"arch": "lenet"}, "a model cannot be called 'α'"),
        (("models", "a b"), {"arch": "lenet"}, "a model cannot be called 'a b'"),
        (("models", ""), {"arch": "lenet"}, "a model cannot be called ''"),
        (("models", "x" * 61), {"arch": "lenet"}, "at most 60 in all"),
        (("models", "LeNet"), {"arch": "lenet"}, "'lenet' and 'LeNet' would be one file where case does not count"),
    ],
)
def test_wrong_settings_are_named(raw, path, value, said):
    section = raw
    for part in path[:-1]:
        section = section.setdefault(part, {})
    section[path[-1]] = value
    with pytest.raises(EscrimeError) as error:
        check_experiment(raw, "mine.toml")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_the_headline_is_an_eps_of_the_norm_of_its_attack(raw):
    raw |= {"headline_eps": 2, "attacks": {"fgsm": {"epsilons": [0, 1, 2.5], "norm": "l2"}}}
    assert check_experiment(raw, "mine.toml").headline == 2.5
    raw["attacks"]["fgsm"] = {"epsilons": [0, 0.1]}
    with pytest.raises(EscrimeError, match="mine.toml: headline_eps: ε = 2.0 is larger than the whole color range"):
        check_experiment(raw, "mine.toml")


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ((), "training"),
        (("models", "lenet"), "models.lenet.training"),
        (("defenses", "adversarial-training"), "defenses.adversarial-training.training"),
        (("defenses", "other-training", "pgd-training"), "defenses.other-training.pgd-training.training"),
    ],
)
def test_training_that_cannot_be_is_named_by_its_section(raw, path, section):
    raw["defenses"]["other-training"] = {"pgd-training": {"objective": {"name": "pgd", "eps": 0.1}}}
    owner = raw
    for part in path:
        owner = owner[part]
    owner["training"] = owner.get("training", {}) | {"epochs": 0}
    with pytest.raises(EscrimeError) as error:
        check_experiment(raw, "mine.toml")
    assert str(error.value).startswith(f"mine.toml: {section}: epochs = 0 is not a whole number from 1; ")
    assert "{" not in str(error.value) and "\n" not in str(error.value)


def test_larger_training_images_are_cropped_to_the_size(raw):
    raw["data"] |= {"size": 8, "train_size": 10}
    with pytest.raises(EscrimeError, match='training: crop_size = 8, which a train_size sets too, is of "resized-crop"'):
        check_experiment(raw, "mine.toml")
    raw["training"]["augment"] = "resized-crop"
    experiment = check_experiment(raw, "mine.toml")
    assert experiment.train_settings("lenet", "adversarial-training").crop_size == 8
    raw["training"]["crop_size"] = 9
    assert check_experiment(raw, "mine.toml").train_settings("lenet").crop_size == 9


def test_epsilons_that_the_report_cannot_tell_apart_are_one(raw):
    raw["attacks"]["fgsm"]["epsilons"] = [0, "8/255", 0.031372549]
    raw["attacks"]["dgsm"]["epsilons"] = [0.2, 0, "1/5"]
    attacks = check_experiment(raw, "mine.toml").attacks
    assert attacks.fgsm.epsilons == [0, 0.031372549] and attacks.dgsm.epsilons == [0, 0.2]


def test_any_attack_with_any_of_its_settings(raw):
    raw["attacks"] = {
        "pgd": {"epsilons": ["8/255", 0], "steps": 20, "step_size": "1/255", "target": "3"},
        "pgd-l2": {"attack": "PGD", "norm": "l2", "epsilons": [2.5], "restarts": 2},
        "carlini-wagner": {"epsilons": [1.5]},
        "auto_attack": {"epsilons": [0.1]},
    }
    attacks = check_experiment(raw, "mine.toml").attacks
    built = {label: section.build(3 if section.target else None) for label, section in attacks.by_label.items()}
    assert built == {
        "PGD": PGD("8/255", steps=20, step_size="1/255", target=3),
        "pgd-l2": PGD(2.5, norm="l2", restarts=2),
        "CarliniWagner": CarliniWagner(1.5),
        "AutoAttack": AutoAttack(0.1),
    }
    assert attacks.epsilons["PGD"] == [0, 8 / 255]
    noted = attacks.model_dump(mode="json", by_alias=True)["pgd-l2"]  # what the manifest says: an ε above 1 is one of l2
    assert (noted["epsilons"], noted["norm"], noted["restarts"]) == ([2.5], "l2", 2)


def test_every_attack_can_be_named(raw):
    aimed = lambda kind: {"target": 1} if kind.needs_target else {}  # noqa: E731
    raw["attacks"] = {
        name.lower(): {"epsilons": [1], **aimed(kind)} for name, kind in by_name().items()
    }  # 1 is an ε of all norms
    assert list(check_experiment(raw, "mine.toml").attacks.by_label) == list(by_name())


def test_a_run_of_an_earlier_version_is_the_same_experiment(raw):
    """What its manifest holds of the attacks differs in nothing but what is None."""
    raw["attacks"] = {"fgsm": {"epsilons": [0, 0.1]}, "dgsm": {"epsilons": [0.2], "target": "1", "adaptive_limit": 20}}
    before = {
        "fgsm": {"epsilons": [0.0, 0.1], "adaptive_limit": None},
        "dgsm": {"epsilons": [0.2], "adaptive_limit": 20, "target": "1", "steps": 20, "step_size": None},
    }

    def now() -> dict:
        return check_experiment(raw, "mine.toml").model_dump(mode="json", by_alias=True)["attacks"]

    assert first_difference(before, now(), "") is None
    raw["attacks"]["fgsm"]["limit"] = 50
    assert first_difference(before, now(), "attacks") == "attacks.fgsm.limit was None, now 50"
    del raw["attacks"]["fgsm"]["limit"]
    raw["attacks"]["dgsm"] |= {"steps": 20, "norm": "linf", "attack": "DGSM"}
    assert first_difference(before, now(), "") is None
    raw["attacks"]["dgsm"]["eot"] = 2
    assert first_difference(before, now(), "attacks") == "attacks.dgsm.eot was None, now 2"


def test_missing_sections_are_named(raw):
    del raw["attacks"]
    with pytest.raises(EscrimeError, match="'attacks' is missing"):
        check_experiment(raw, "mine.toml")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "bad.toml").write_text("title = ")
    for source, said in [
        ("digit", "Did you mean 'digits'"),
        (str(tmp_path / "no.toml"), "does not exist"),
        (str(tmp_path / "bad.toml"), "not valid TOML"),
        (str(tmp_path), "unknown"),
    ]:
        with pytest.raises(EscrimeError, match=said):
            read_experiment(source)


def test_changes_of_the_command_line(raw):
    changed = apply_changes(
        raw,
        {
            "models": "lenet",
            "weights": ["w.safetensors"],
            "size": 16,
            "limit": 5,
            "epochs": 2,
            "adversarial_epochs": 1,
            "seed": 3,
            "data": None,
        },
    )
    experiment = check_experiment(changed, "digits")
    assert list(experiment.models) == ["lenet"] and experiment.models["lenet"].weights == "w.safetensors"
    assert (experiment.data.size, experiment.data.limit, experiment.seed) == (16, 5, 3)
    assert experiment.train_settings("lenet").epochs == 2
    assert experiment.train_settings("lenet", "adversarial-training").epochs == 1
    assert raw == read_experiment("digits")[1]


def test_another_architecture_joins_by_name():
    raw = apply_changes(
        read_experiment("imagenette")[1],
        {"models": "mobilenet_v2,googlenet", "weights": ["mobilenet_v2=a/b.safetensors"]},
    )
    experiment = check_experiment(raw, "imagenette")
    assert experiment.models["mobilenet_v2"].weights == "a/b.safetensors"
    assert experiment.models["googlenet"].weights == "torchvision"


def test_the_papers_network_as_published_stands_for_it():
    changes = {"models": "googlenet_bvlc,resnet18", "weights": ["googlenet_bvlc=w.safetensors"]}
    experiment = check_experiment(apply_changes(read_experiment("imagenette")[1], changes), "imagenette")
    assert experiment.models["googlenet_bvlc"].stands_for == "googlenet"
    assert experiment.models["resnet18"].stands_for is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": "lenett"}, "Did you mean 'lenet'"),
        ({"models": ","}, "names no model"),
        ({"weights": ["w.pt"]}, "does not say for which model"),
        ({"weights": ["lene=w.pt"]}, "Did you mean 'lenet'"),
    ],
)
def test_wrong_options_are_named(raw, changes, said):
    with pytest.raises(EscrimeError, match=said):
        apply_changes(raw, changes)


@pytest.mark.parametrize(
    ("wrong", "changes", "said"),
    [
        ({"data": "digits"}, {"limit": 5}, "data = 'digits' is not a section"),
        ({"training": 3}, {"epochs": 2}, "training = 3 is not a section"),
        ({"models": {"lenet": "lenet"}}, {"epochs": 2}, "models.lenet = 'lenet' is not a section"),
        ({"models": {"lenet": {"training": 3}}}, {"epochs": 2}, "models.lenet.training = 3 is not a section"),
        ({"defenses": {"other-training": {"pgd": 3}}}, {"adversarial_epochs": 2}, "other-training.pgd = 3 is not a section"),
        ({"models": {}}, {"weights": ["a.pth"]}, "has no model to load them into"),
    ],
)
def test_changes_of_what_is_no_section_are_refused(raw, wrong, changes, said):
    with pytest.raises(EscrimeError, match=said):
        apply_changes(raw | wrong, changes)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    """As Windows' editor writes it."""
    text = shipped()["digits"].read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8-sig")
    assert read_experiment(str(tmp_path / "mine.toml"))[1] == read_experiment("digits")[1]


def test_weights_that_are_a_list_are_refused_where_a_model_joins(raw):
    raw["models"] = {"lenet": {"arch": "lenet", "weights": []}}
    changed = apply_changes(raw, {"models": "lenet,googlenet"})
    with pytest.raises(EscrimeError, match="models.lenet.weights = .*string"):
        check_experiment(changed, "here")
    assert apply_changes(raw | {"models": {}}, {"models": "googlenet"})["models"]["googlenet"]["weights"] == "none"


def test_defenses_may_be_combined_and_other_recipes_compared():
    from escrime.commands.run.files import read_experiment
    from escrime.commands.run.schema import check_experiment

    _, raw = read_experiment("digits")
    raw["defenses"] |= {"both": True, "other-training": {"pgd-training": {"objective": {"name": "pgd", "eps": 0.1}}}}
    raw["defenses"]["other-training"]["pgd-training"]["training"] = {"epochs": 3}
    experiment = check_experiment(raw, "here")
    assert list(experiment.defenses.trainings) == ["adversarial-training", "pgd-training"]
    assert experiment.train_settings("lenet", "pgd-training").epochs == 3
    for name in ("ppa", "a--b", "a/b", ""):
        raw["defenses"]["other-training"] = {name: {"objective": {"name": "pgd"}}}
        with pytest.raises(EscrimeError, match="cannot be called"):
            check_experiment(raw, "here")
    raw["defenses"] = {"both": True, "ppa": {"eps_max": 0.1, "samples": 2}}
    with pytest.raises(EscrimeError, match="both = true needs"):
        check_experiment(raw, "here")


def test_a_headline_at_which_nothing_is_attacked_is_told(raw):
    raw |= {"headline_eps": 0.2, "attacks": {"fgsm": {"epsilons": [0, 0.05, 0.1]}}}
    assert "nothing is attacked at headline_eps = 0.2" in check_experiment(raw, "mine.toml").headline_told
    assert check_experiment(raw | {"headline_eps": 0.1}, "mine.toml").headline_told is None


def test_a_threat_that_is_wrong_is_named_before_the_attacks_that_are_missing(raw):
    del raw["attacks"]
    for wrong in ([], "3"):
        with pytest.raises(EscrimeError, match="mine.toml: .*threats.l0.epsilons"):
            check_experiment(raw | {"threats": {"l0": {"epsilons": wrong}}}, "mine.toml")


def test_a_key_that_is_wrong_is_named_before_one_that_is_missing(raw):
    raw["dataa"] = raw.pop("data")
    with pytest.raises(EscrimeError, match="mine.toml: unknown key 'dataa'. Did you mean 'data'"):
        check_experiment(raw, "mine.toml")


def test_corruptions_of_a_threat_are_the_fifteen(raw):
    raw["threats"] = {"corruption": {"epsilons": [1, 3]}}
    found = check_experiment(raw, "mine.toml").attacks.by_label
    assert set(COMMON) <= set(found) and found["fog"].norm == "corruption"


def test_flatness_is_measured_in_the_norm_of_the_paper(raw):
    raw["attacks"] = {"pgd": {"epsilons": [2.5], "norm": "l2"}}
    assert check_experiment(raw | {"headline_eps": 2.5}, "mine.toml").in_linf is None
    raw["attacks"]["fgsm"] = {"epsilons": [0, 0.05, 0.1]}
    assert check_experiment(raw | {"headline_eps": 0.1}, "mine.toml").in_linf == 0.1
