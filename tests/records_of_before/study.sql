BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'study');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'cnnlab','{"chosen": {"model": "lenet5", "data": "digits", "recipe": "fast"}, "search": {"optimizer.lr": {"float": [0.01, 1.0], "log": true}, "optimizer.momentum": {"float": [0.8, 0.98]}, "optimizer.weight_decay": {"float": [1e-05, 0.01], "log": true}}, "settings": {"data": {"_target_": "cnnlab.data.datamodule.ImageDataModule", "source": "digits", "path": null, "classes": null, "image_size": 32, "batch_size": 64, "eval_batch_size": 1000, "holdout": 0.1, "mean": null, "std": null, "cache": null, "residence": "auto", "workers": null}, "model": {"_target_": "cnnlab.models.lenet.LeNet5", "activation": "relu", "pooling": "max", "normalization": "none", "dropout": 0.0, "width": 0.125}, "trainer": {"max_epochs": 1, "max_steps": -1, "max_time": null, "accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "sync_batchnorm": false, "precision": "32-true", "compile": "off", "tf32": true, "profile": false, "accumulate_grad_batches": 1, "gradient_clip_val": 2.0, "gradient_clip_algorithm": "norm", "deterministic": false, "benchmark": true, "limit_train_batches": 3, "limit_val_batches": 1.0, "limit_test_batches": 1.0, "check_val_every_n_epoch": 1, "num_sanity_val_steps": 0, "detect_anomaly": false, "enable_progress_bar": true}, "callbacks": {}, "seed": 0, "protocol": "holdout", "optimizer": {"_target_": "torch.optim.SGD", "_partial_": true, "lr": 0.1, "momentum": 0.9, "nesterov": true, "weight_decay": 0.0005}, "schedule": {"_target_": "cnnlab.training.schedules.triangle", "_partial_": true, "warmup": 0.2, "final": 0.0}, "loss": {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.1}, "augmentation": {"_target_": "cnnlab.data.augment.Augmentation", "pad": 3, "padding_mode": "reflect", "flip": "alternating", "cutout": 8, "erasing": 0.0, "mixup": 0.0, "cutmix": 0.0, "mix_probability": 1.0, "sizes": []}, "averaging": {"_target_": "cnnlab.training.averaging.AveragedWeights", "decay": 0.998, "every_n_steps": 5}, "decay_norms_and_biases": false, "bias_lr_factor": 1.0, "tta": "none"}}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,1.00671142339706420898e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,2,1,1.00671142339706420898e-01,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'optimizer.lr',0.1,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(2,1,'optimizer.momentum',0.9,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.8, "high": 0.98, "log": false}}');
INSERT INTO "trial_params" VALUES(3,1,'optimizer.weight_decay',0.0005,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(4,2,'optimizer.lr',8.8398745342470386177e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(5,2,'optimizer.momentum',8.65189892862501475079e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.8, "high": 0.98, "log": false}}');
INSERT INTO "trial_params" VALUES(6,2,'optimizer.weight_decay',8.54304038554987502096e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'fixed_params','{"optimizer.lr": 0.1, "optimizer.momentum": 0.9, "optimizer.weight_decay": 0.0005}');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'arguments','["optimizer.lr=0.1", "optimizer.momentum=0.9", "optimizer.weight_decay=0.0005"]');
INSERT INTO "trial_user_attributes" VALUES(2,1,'searched','{"sampler": "tpe", "pruner": "median"}');
INSERT INTO "trial_user_attributes" VALUES(3,1,'seconds','33.267');
INSERT INTO "trial_user_attributes" VALUES(4,2,'arguments','["optimizer.lr=0.884", "optimizer.momentum=0.8652", "optimizer.weight_decay=0.008543"]');
INSERT INTO "trial_user_attributes" VALUES(5,2,'searched','{"sampler": "tpe", "pruner": "median"}');
INSERT INTO "trial_user_attributes" VALUES(6,2,'seconds','23.796');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,1.00671142339706420898e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,1.00671142339706420898e-01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-29 13:41:02.971901','2026-11-29 13:41:36.579863');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-29 13:41:38.240622','2026-11-29 13:42:02.259049');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
