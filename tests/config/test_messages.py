"""What the user reads after a wrong request."""

from pathlib import Path

import pytest

STEP = (
    *("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"),
    *("trainer.limit_test_batches=1", "data.batch_size=4", "data.eval_batch_size=4"),
)
DIGITS = ("data=digits", "model=lenet5", "logger=none", *STEP)


WRONG = {
    "model=resnet81": "model=resnet81 is not known; did you mean model=resnet18?",
    "modle=lenet5": "modle is not a key; did you mean model?",
    "experiment=dem": "did you mean experiment=demo?",
    "optimizer.momentun=0.9": "optimizer.momentun is not a key; did you mean optimizer.momentum?",
    "+optimizer.momentun=0.9": "optimizer.momentun is not a key; did you mean optimizer.momentum?",
    "+trainer.max_epoch=3": "trainer.max_epoch is not a key; did you mean trainer.max_epochs?",
    "+seeds=3": "seeds is not a key; did you mean seed?",
    "hydra.run.dirr=x": "did you mean hydra.run.dir?",
    "data.batch_size=many": "data.batch_size must be a whole number, got 'many'",
    "data.batch_size=0": "data.batch_size must be 1 or more, got 0",
    "data.holdout=1.5": "data.holdout must be between 0 and 1, got 1.5",
    "data.mean=[1,2]": "data.mean must be a list of 3, got [1, 2]",
    "data.image_size=8": "model: images of 3x8x8",
    "augmentation.sizes=[[0,31]]": "augmentation.sizes: model: images of 3x31x31",
    "data.image_size=31": "the smallest size that works is 32 pixels",
    "data.image_size=36": "sizes that work: 32 to 35 pixels",
    "model=timm": "model.name must be given: model.name=...",
    "model=timm model.name=resnet18dd": "model.name resnet18dd is not a network of timm; did you mean resnet18d?",
    "model=timm model.name=resnet18 +model.drop=1": "model.drop is not an option of resnet18",
    "model=torchvision model.name=resnet81": "resnet81 is not a classifier of torchvision; did you mean resnet18?",
    "model=torchvision model.name=alexnet": "the smallest size that works is 63 pixels",
    "model=resnet18 model.width=0": "model.width must be above 0, got 0",
    "data.cache=/dev/null/x": "data.cache: /dev/null/x",
    "optimizer.lr=fast": "optimizer.lr must be a number",
    "optimizer.lr=-1": "optimizer.lr must be 0 or more, got -1",
    "optimizer=null": "optimizer must have a _target_, such as optimizer._target_=torch.optim.AdamW",
    "optimizer=adam": "optimizer must have a _target_, such as optimizer._target_=torch.optim.AdamW",
    "optimizer._target_=torch.optim.SGDD": "cannot be imported; did you mean torch.optim.SGD?",
    "schedule.warmup=3": "schedule.warmup must be at least 0 and below 1, got 3",
    "loss.label_smoothing=2": "loss.label_smoothing must be from 0 to 1, got 2",
    "averaging.decay=1": "averaging.decay must be at least 0 and below 1, got 1",
    "augmentation.pad=40": "augmentation.pad must be less than image_size",
    "augmentation.flip=sometimes": "augmentation.flip must be one of none, random, alternating, got 'sometimes'",
    "augmentation.mixup=-1": "augmentation.mixup must be 0 or more, got -1",
    "augmentation.cutmix=yes": "augmentation.cutmix must be a number",
    "augmentation.erasing=2": "augmentation.erasing must be from 0 to 1, got 2",
    "augmentation.mixupp=1": "augmentation.mixupp is not a key; did you mean augmentation.mixup?",
    "model.activation=rellu": "got 'rellu'; did you mean relu?",
    "protocol=holdouts": "got 'holdouts'; did you mean holdout?",
    "seed=-1": "seed",
    "trainer.max_epochs=0": "trainer.max_epochs must be above 0, got 0",
    "trainer.max_epochs=many": "trainer.max_epochs must be a number or null, got 'many'",
    "trainer.max_steps=0": "trainer.max_steps must be 1 or more, or -1 for no limit, got 0",
    "trainer.max_steps=1.5": "trainer.max_steps must be a whole number",
    "tta=flop": "tta must be one of none, flip, flip_translate, unsure, got 'flop'; did you mean flip?",
    "optimizer.lr=nan": "optimizer.lr must be a finite number, got nan",
    "optimizer.momentum=inf": "optimizer.momentum must be a finite number, got inf",
    "optimizer.weight_decay=-inf": "optimizer.weight_decay must be a finite number, got -inf",
    "augmentation.mixup=nan": "augmentation.mixup must be a finite number, got nan",
    "data.mean=[0.5,nan,0.5]": "data.mean must be a finite number, got nan",
    "data.std=[0.2,0.2,-0.2]": "data.std must be above 0, got [0.2, 0.2, -0.2]",
    "data.std=[0.2,0,0.2]": "data.std must be above 0, got [0.2, 0, 0.2]",
    "data.mean=[-1,0.5,0.5]": "data.mean must be from 0 to 1, got [-1, 0.5, 0.5]",
    "trainer.gradient_clip_val=-1": "trainer.gradient_clip_val must be 0 or more, got -1",
    "trainer.limit_val_batches=-0.5": "trainer.limit_val_batches must be 0 or more",
    "trainer.max_epochs=inf": "trainer.max_epochs must be a finite number, got inf",
    "bias_lr_factor=0": "bias_lr_factor must be above 0, got 0",
    "bias_lr_factor=high": "bias_lr_factor must be a number, got 'high'",
    "decay_norms_and_biases=some": "decay_norms_and_biases must be true or false, got 'some'",
    "trainer.precision=bf17": "did you mean bf16?",
    "data._target_=cnnlab.data.datamodule.ImageDataModule": "data.image_size is missing: data modules need it",
    "trainer.precision=16-true": "trainer.precision must be one of auto, 32-true, bf16-mixed, bf16-true, 16-mixed",
    "trainer.limit_train_batches=-1": "trainer.limit_train_batches",
    "trainer.limit_train_batches=0": "trainer.limit_train_batches must be above 0",
    "trainer.limit_test_batches=0": "trainer.limit_test_batches must be above 0",
    "trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches must be 1 or more, got 0",
    "trainer.check_val_every_n_epoch=0": "trainer.check_val_every_n_epoch must be 1 or more, got 0",
    "logger=null": "logger=null: logger takes a name; known: mlflow, none, tensorboard, wandb",
    "resume=größe": "resume: größe does not exist",
    "trainer.devices=-3": "trainer.devices must be a number, a list such as [0, 2], or auto, got -3",
    "trainer.devices=1000000000": "trainer.devices must be a number",
    "trainer.devices=many": "trainer.devices must be a number",
    "trainer.devices=[7]": "trainer.devices",
    "trainer.devices=5": "data.batch_size must be at least the number of devices, 5, got 4",
    "trainer.num_nodes=2": "trainer.num_nodes: torchrun or srun must start a run on several machines",
    "trainer.strategy=ddq": "trainer.strategy must be one of auto, ddp, ddp_find_unused_parameters_true, got 'ddq'",
    "trainer.strategy=fsdp": "trainer.strategy must be one of",
    "data.residence=hosts": "data.residence must be one of auto, device, host, stream, got 'hosts'; did you mean host?",
    "data.workers=-1": "data.workers must be 0 or more, got -1",
    "trainer.compile=fast": "trainer.compile must be one of off",
    "recipe=speedrun optimizer.ns_steps=0": "optimizer.ns_steps must be 1 or more, got 0",
    "recipe=speedrun optimizer.momentum=1": "optimizer.momentum must be at least 0 and below 1, got 1",
    "recipe=speedrun optimizer.sgd_lr=-1": "optimizer.sgd_lr must be 0 or more, got -1",
    "recipe=speedrun optimizer.sgd_lrr=1": "optimizer.sgd_lrr is not a key; did you mean optimizer.sgd_lr?",
    "recipe=resnet_paper schedule.milestones=[32000,48000]": "schedule.milestones must be between 0 and 1",
    "recipe=resnet_paper schedule.milestones=0.5": "schedule.milestones must be a list",
    "recipe=resnet_paper schedule.gama=0.5": "schedule.gama is not a key; did you mean schedule.gamma?",
    "trainer.profile=maybe": "trainer.profile must be true or false, got 'maybe'",
    "resume=nowhere": "resume: nowhere does not exist",
    "data.path=nowhere": "data.path",
    "data=folder data.path=https://a.b/c.zip": "data.path: download https://a.b/c.zip first; data.source=OWNER/",
    "trainer=tpu": "trainer=tpu is not known; known: auto, cpu, ddp, gpu",
    "data=cifar10 data.source=5": "data.source must be a text or null, got 5",
    "-m seed=0,1 --cfg job": "--cfg: it shows a single run; leave out -m",
    "model=[lenet5": "model takes one name",
    # keys of other frameworks
    "lr=0.1": "lr is not a key; did you mean optimizer.lr?",
    "epochs=3": "epochs is not a key; did you mean trainer.max_epochs?",
    "trainer.gpus=2": "trainer.gpus is not a key; did you mean trainer.devices?",
    "optimizer.learning_rate=1": "optimizer.learning_rate is not a key; did you mean optimizer.lr?",
    "rotation=5": "rotation is not a key; did you mean augmentation.rotation?",
    "perspective=5": "perspective is not a key; cnnlab train --help lists them",
    # what is no key=value
    "--lr 0.1": "--lr is not an option; did you mean optimizer.lr=VALUE?",
    "--config-name=mine": "--config-name is not an option",
    "--cfg everything": "--cfg/-c: invalid choice: 'everything'",
    "lr 0.1": "lr is not of the form key=value, such as optimizer.lr=0.1",
    "resnet18": "resnet18 is not of the form key=value, such as model=resnet18",
    "=3": "=3 is not of the form key=value",
    "optimizer..lr=3": "optimizer..lr=3 is not of the form key=value",
    "optimizer.lr=(0.1": "optimizer.lr=(0.1 cannot be read: a bracket or quote has no partner",
    "optimizer.lr=0.1,0.2": "optimizer.lr=0.1,0.2 has several values; -m tries one after the other",
    "optimizer.lr=[0.1]": "optimizer.lr must be a number, got [0.1]",
    "optimizer.lr=${oc.env:NOT_SET}": "Environment variable 'NOT_SET' not found",
    "+experiment=demo": "a choice is replaced, neither added nor left out: experiment=demo",
    "~model": "a choice is replaced, neither added nor left out: model=NAME",
    "model=timm/resnet18": "did you mean model=timm model.name=resnet18?",
    "data=/home/me/cats": "did you mean data=folder data.path=/home/me/cats?",
    "data=uoft-cs/cifar100": "did you mean data=folder data.source=uoft-cs/cifar100?",
    "data=https://a.b/c.zip": "download the images, then give data=folder data.path=FOLDER",
    "logger=[tensorboard,comet]": "logger=comet is not known; known: mlflow, none, tensorboard, wandb",
    "resume=[a,b]": "resume takes one run directory or checkpoint",
    "-m resume=a,b": "a run is resumed alone",
    "-m name=a,../b": "name must be a folder below runs/, got '../b'",
    "-m optimizer.lr=0.1,high": "optimizer.lr must be a number, got 'high' (job lr-high)",
    "hydra.launcher.n_jobs=many": "hydra.launcher.n_jobs: Value 'many'",
    "trainer.max_time=10": "trainer.max_time must be a text or keys and values or null, got 10",
    "trainer.max_time=00:00:00:00": "trainer.max_time must be days:hours:minutes:seconds",
    # parts as a whole
    "loss=[mine]": "loss=[mine]: loss holds keys, such as loss.KEY=VALUE",
    "optimizer._target_=AdamW": "cannot be imported; did you mean torch.optim.AdamW?",
    "optimizer={_target_:torch.optim.AdamW,lr:fast}": "optimizer.lr must be a number, got 'fast'",
    "optimizer={_target_:torch.optim.AdamW,betas:[0.9]}": "optimizer.betas must be a list of 2, got [0.9]",
    "optimizer={_target_:torch.optim.AdamW,betas:[0.9,1]}": "optimizer.betas must be at least 0 and below 1",
    "optimizer={_target_:torch.optim.AdamW,momentum:0.9}": "; if a file sets it, ~optimizer.momentum leaves it out",
    "loss={_target_:torch.nn.NLLLoss,smoothing:1}": "is not a key of torch.nn.NLLLoss; known: ignore_index",
    "model={_target_:no_such_package.Net}": "model._target_: 'no_such_package.Net' cannot be imported",
    "model.num_classes=3": "model.num_classes is not a key: it is filled in",
    "callbacks=5": "callbacks=5: callbacks takes a name; known: default",
    "callbacks={mine:{patience:3}}": "callbacks.mine must have a _target_",
    "callbacks.early_stopping.patience=5": "must have a _target_: callbacks=early_stopping, or",
    "callbacks.mine._target_=lightning.pytorch.callbacks.Tmer": "did you mean lightning.pytorch.callbacks.Timer?",
    "callbacks=early_stopping callbacks.early_stopping.patience=-1": "patience must be 0 or more, got -1",
    "callbacks=early_stopping callbacks.early_stopping.mode=up": "mode must be one of min, max, got 'up'",
    "callbacks=early_stopping callbacks.early_stopping.monitor=val_loss": "is not logged; did you mean val/loss?",
    "callbacks=early_stopping trainer.limit_val_batches=0": "early_stopping.monitor: val/accuracy is not logged",
    "callbacks.rate._target_=lightning.pytorch.callbacks.LearningRateMonitor": "callbacks.rate needs a logger, such as",
    "logger={csv:{_target_:lightning.pytorch.loggers.CSVLogger,save_dir:x}}": "logger.csv.save_dir is not a key",
    "trainer={max_epochs:-1}": "trainer.max_epochs must be above 0, got -1",
    "trainer=5": "trainer=5: trainer takes a name; known: auto",
    # what contradicts itself or the machine
    "trainer.logger=false": "trainer.logger is set by cnnlab: logger=NAME chooses one",
    "trainer.fast_dev_run=-1": "trainer.fast_dev_run must be 0 or more, got -1",
    "trainer.min_epochs=3": "trainer.min_epochs must be at most max_epochs, 1, got 3",
    "trainer.max_steps=2 trainer.min_steps=3": "trainer.min_steps must be at most max_steps, 2, got 3",
    "trainer.check_val_every_n_epoch=2": "trainer.check_val_every_n_epoch must be at most max_epochs, 1",
    "trainer.accelerator=tpu": "trainer.accelerator must be one of auto, cpu, gpu, cuda, mps, got 'tpu'",
    "trainer.accelerator=mps": "trainer.accelerator=mps: torch finds no such device",
    "trainer.accelerator=cpu trainer.precision=16-mixed": "trainer.precision=16-mixed needs a GPU",
    "trainer.limit_train_batches=0.0001": "trainer.limit_train_batches: 0.0001 of",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_request_is_explained_and_leaves_nothing(train, tmp_path, override):
    outcome = train(*DIGITS, *override.split(" "))
    assert outcome.code == 2
    assert WRONG[override] in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("*.*"))


def test_a_key_that_an_experiment_misspells_is_found(train, tmp_path: Path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "misspelt.yaml").write_text("optimiser: {lr: 0.1}\n")
    outcome = train(*DIGITS, "experiment=misspelt")
    assert (outcome.code, "optimiser is not a key; did you mean optimizer?" in outcome.err) == (2, True)


def test_a_damaged_file_is_named(train, parquet_folder):
    file = parquet_folder / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:1000])
    outcome = train(*DIGITS, "data=cifar10", f"data.path={parquet_folder}")
    assert (outcome.code, f"{file} is not a readable parquet file" in outcome.err) == (2, True)


def test_cifar10_that_cannot_be_found_is_explained_in_two_lines(train, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    outcome = train()
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 2
    assert "data.path=" in outcome.err
    assert "data=digits" in outcome.err


def test_messages_hold_no_commands_for_the_terminal(train, tmp_path):
    (tmp_path / "odd\x1b[31m").mkdir()
    outcome = train("resume=odd\x1b[31m")
    assert (outcome.code, "\x1b" in outcome.err) == (2, False)
    assert "odd\N{REPLACEMENT CHARACTER}[31m" in outcome.err
