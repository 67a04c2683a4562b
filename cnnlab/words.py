"""Find the name that a user probably meant: a clear typo, or the word of another framework."""

import difflib
from collections.abc import Iterable

CUTOFF = 0.72  # similarity of two names, from 0 to 1, from which one may be a typo of the other
DEVICES = ("cpu", "gpu", "tpu", "npu", "hpu", "xpu")  # a letter apart, but no typos of each other
# Names here, and what users of other frameworks call the same thing.
MEANINGS = {
    "trainer.max_epochs": "epochs epoch num_epochs n_epochs n_epoch nb_epochs nb_epoch total_epochs train_epochs",
    "trainer.max_steps": "steps iterations num_steps total_steps iters",
    "trainer.max_time": "time_limit max_duration",
    "budget": "time_budget train_seconds",
    "trainer.devices": "gpus gpu ngpu num_gpus n_gpus gpu_ids device_ids num_devices",
    "trainer.accelerator": "device cuda use_cuda no_cuda",
    "trainer.num_nodes": "nodes nnodes",
    "trainer.precision": "amp fp16 bf16 half mixed_precision use_amp dtype amp_dtype",
    "trainer.strategy": "ddp distributed",
    "trainer.gradient_clip_val": "clip_grad grad_clip clip gradient_clip clip_grad_norm max_grad_norm clipnorm",
    "trainer.accumulate_grad_batches": "grad_accum grad_accum_steps gradient_accumulation_steps accumulation_steps",
    "trainer.limit_train_batches": "steps_per_epoch limit_batches",
    "trainer.check_val_every_n_epoch": "val_every eval_every validation_freq val_interval eval_interval",
    "trainer.enable_progress_bar": "progress_bar progress",
    "trainer.profile": "profiler",
    "trainer.compile": "torch_compile torchcompile",
    "data": "dataset datamodule dataset_name dls",
    "data.batch_size": "bs batch batchsize train_batch_size per_device_train_batch_size",
    "data.eval_batch_size": "val_batch_size validation_batch_size test_batch_size eval_bs batch_size",
    "data.image_size": "img_size input_size imgsz size resolution target_size",
    "data.workers": "num_workers n_workers",
    "data.holdout": "val_split validation_split val_fraction val_ratio valid_pct val_size val_pct",
    "data.path": "data_dir data_path dataset_path dataset_dir root data_root datadir data_folder path folder",
    "data.cache": "cache_dir",
    "model": "arch architecture net network backbone model_name",
    "optimizer": "optim opt optimiser optimizer_name",
    "optimizer.lr": "learning_rate learningrate lr_max max_lr base_lr init_lr initial_lr lr0",
    "optimizer.weight_decay": "wd decay l2",
    "optimizer.momentum": "mom",
    "schedule": "scheduler lr_scheduler sched lr_schedule scheduler_name",
    "schedule.warmup": "warmup_epochs warmup_steps warmup_ratio pct_start num_warmup_steps",
    "schedule.final": "eta_min final_lr lrf lr_min",
    "loss": "criterion loss_fn loss_func",
    "loss.label_smoothing": "smoothing label_smooth",
    "augmentation": "aug augment transform transforms augmentations batch_tfms item_tfms data_augmentation",
    "augmentation.pad": "crop random_crop padding",
    "augmentation.flip": "hflip horizontal_flip fliplr random_flip mirror",
    "augmentation.erasing": "reprob random_erasing random_erase",
    "augmentation.policy": "aa auto_augment autoaugment rand_augment randaugment trivial_augment trivialaugment",
    "augmentation.rotation": "degrees rotate random_rotation",
    "augmentation.brightness": "color_jitter colorjitter jitter",
    "augmentation.grey": "gray grayscale random_grayscale",
    "augmentation.then": "custom extra_transforms",
    "averaging": "ema swa model_ema weight_averaging",
    "averaging.decay": "ema_decay model_ema_decay",
    "callbacks": "callback cbs",
    "logger": "loggers wandb tensorboard mlflow",
    "seed": "random_seed manual_seed seed_everything random_state",
    "resume": "ckpt_path checkpoint resume_from_checkpoint resume_from ckpt",
    "checkpoint": "ckpt_path ckpt model_path checkpoint_path weights run resume model",
    "output": "output_dir save_dir out_dir out outdir out_path output_path",
    "runs": "run paths log_dir logdir folder",
    "hydra.run.dir": "output_dir save_dir out_dir log_dir logdir outdir run_dir output work_dir default_root_dir",
    "name": "experiment_name run_name exp_name task_name",
    "recipe": "preset hparams",
    "val/accuracy": "val_acc val_accuracy valid_acc acc accuracy",
    "val/loss": "val_loss valid_loss",
    "val": "validation valid dev",
    "images": "image input inputs source files pictures path",
    "image": "images input file picture test",
    "limit": "max_images n num_images",
    "top": "topk top_k k",
    "device": "accelerator gpu cuda",
    "trials": "n_trials num_trials",
    "macs": "flops",
    "train_seconds": "time seconds",
    "peak_memory_bytes": "memory peak_memory vram",
    "n_jobs": "jobs workers",
    "cuda": "gpu",
    # commands
    "train": "fit training",
    "evaluate": "test eval validate val",
    "predict": "infer inference classify",
    "describe": "summary info",
    "visualize": "explain show plot gradcam",
    "dashboard": "board",
    "tune": "search optimize hpo sweep",
    "benchmark": "bench speed",
    "export": "convert onnx",
}


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return `; did you mean NAME?` for the nearest known word, else a list of the known words if it is short."""
    known = list(known)
    if near := nearest(word, known):
        return f"; did you mean {prefix}{near}?"
    return f"; known: {', '.join(sorted(set(known)))}" if 0 < len(known) <= 30 else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name with the meaning of a word or of its part after the last dot, or of which it is a typo."""
    known, typed, word = list(known), word, word.lower().replace("-", "_")
    leaf = _leaf(word)
    if same := [name for name in known if _leaf(name).lower() == leaf]:
        return max(same, key=lambda name: (-name.count(".") if leaf == word else 0, _likeness(name, word)))
    for meaning, words in MEANINGS.items():
        if leaf in words.split():
            # Inside of a part, such as the optimizer, names have no dots.
            for name in (meaning, _leaf(meaning)):
                if name in known and ("." in meaning or "." not in word):
                    return name
    alike = {name: _likeness(name.lower(), word) for name in known if name.count(".") == word.count(".")}
    best = max(alike, key=lambda name: (alike[name], _likeness(name, typed)), default=None)
    return best if best is not None and alike[best] >= CUTOFF else None


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _likeness(one: str, other: str) -> float:
    """Return how alike two names are, from 0 to 1: as much as the least alike of their parts."""
    return min(_ratio(*pair) for pair in zip(one.split("."), other.split("."), strict=False))


def _ratio(one: str, other: str) -> float:
    if one in DEVICES and other in DEVICES:
        return float(one == other)
    ratio = difflib.SequenceMatcher(None, one, other).ratio()
    one_letter_differs = len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) == 1
    return max(ratio, CUTOFF) if one_letter_differs and len(one) > 1 else ratio
