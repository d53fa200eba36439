"""Every field of a run, once, with the published recipe as far as it does not depend on the data.

A config file of a run calls `get_config()` and overrides fields; the command line overrides them
once more (`--config.minimax.penalty.budget=0.5`). The sources are arXiv 2504.14301 (the paper) and
the code published with it; `docs/method.md` lists where this project deviates, and why.
"""

from ml_collections import ConfigDict

PHASES = (
    "reconstruct",
    "pretrain_privacy",
    "minimax",
    "evaluate_action",
    "evaluate_privacy",
    "evaluate_reconstruction",
    "evaluate_identity",
    "evaluate_frames",
    "report",
)


def get_config() -> ConfigDict:
    """The published recipe on UCF101-sized data, with no dataset named yet."""
    config = ConfigDict()
    config.seed = 0  # of initial parameters, shuffling, augmentation and dropout
    config.method = "penalty"  # a row of anon_jax.methods.METHODS
    config.evaluate_raw = True  # evaluate without an anonymizer too: what there was to lose
    # Which to run, in this order; each resumes where it stopped. The one left out here,
    # "evaluate_identity", is for datasets whose groups are people.
    config.phases = tuple(phase for phase in PHASES if phase != "evaluate_identity")
    # Workdir of a run whose phases reconstruct and pretrain_privacy are taken over; "" = run them.
    # Neither depends on the method, so runs that are compared can share them.
    config.pretrained = ""
    config.init_from = _init_from()
    config.dtype = "float32"  # of activations ("bfloat16" on accelerators); parameters stay float32
    # Devices to shard the batch over, of all processes together; 0 = all that there are. Of a CPU's
    # cores as many are made as this says, or as are fastest.
    config.devices = 0
    # So many devices share each large parameter and its optimizer state; 1 = each holds all.
    config.fsdp = 1
    # What networks compute again in the backward pass instead of keeping it: "none" of it, what
    # lies between "convolutions" (cheap), or whole "blocks" (a forward pass more, least memory).
    config.remat = "none"
    # Folder of compiled steps, which a later start finds there; "" = as JAX_COMPILATION_CACHE_DIR
    # of the environment says, or none.
    config.compilation_cache = ""
    config.log_every = 50  # steps between two lines of metrics
    config.sample_every = 500  # steps between two pictures in samples/
    config.checkpoint_every = 500  # steps between two checkpoints of a phase
    # Where a loss is NaN or infinite: "stop", or "roll_back": go on from the last checkpoint
    # without the batch that did it, for at most ten batches in a phase.
    config.on_nonfinite = "stop"
    config.data = _data()
    config.attack = _attack()
    config.obfuscation = _obfuscation()
    config.networks = _networks()
    config.reconstruct = _reconstruct()
    config.pretrain_privacy = _pretrain_privacy()
    config.minimax = _minimax()
    config.compat = _compat()
    config.evaluate_action = _evaluate_action()
    config.evaluate_privacy = _evaluate_privacy()
    config.evaluate_reconstruction = _evaluate_reconstruction()
    config.evaluate_identity = _evaluate_identity()
    config.evaluate_frames = _evaluate_frames()
    return config.lock()


def _init_from() -> ConfigDict:
    # Folders of weights that networks start from: made by python -m anon_jax.convert, or of a phase
    # of a run, RUN/checkpoints/PHASE; "" = new ones. A head of another size is new all the same.
    init_from = ConfigDict()
    init_from.anonymizer = ""  # f_A, in reconstruct
    init_from.action = ""  # f_T, in minimax and in evaluate_action
    init_from.privacy = ""  # f_B, in pretrain_privacy
    return init_from


def _data() -> ConfigDict:
    data = ConfigDict()
    data.data_dir = "~/tensorflow_datasets"  # where input_pipeline.build wrote the datasets
    data.videos = ""  # dataset of clips, e.g. "ucf101" or "video_folder/mine"
    data.images = ""  # dataset of still images; "" = single frames of the training videos
    data.num_frames = 16  # frames of a clip
    data.frame_stride = 2  # distance of two frames; 1 where a video is too short for it
    data.resolution = 224  # side of the square frames that the networks see
    data.repeat_short_videos = False  # True: one of fewer frames than a clip repeats its last one
    # Processes that make training batches; 0 = threads of this one. The batches and their order
    # are the same for each number, but a run resumes with the number that it began with.
    data.num_workers = 0
    data.num_threads = 4  # threads that decode JPEGs, in each worker process
    data.prefetch = 4  # batches made ahead, by each worker process
    data.clip_augmentation = ConfigDict()  # one set of parameters for all frames of a clip
    data.clip_augmentation.crop_scale = (0.6, 1.0)  # side of the crop / short side of the frame
    data.clip_augmentation.jitter = 0.1  # brightness, contrast, saturation: factors 1 +- this
    data.clip_augmentation.hue = 0.1  # hue shift, in turns of the colour circle, +- this
    data.clip_augmentation.grey = 0.1  # probability of a grey clip
    data.clip_augmentation.flip = 0.5  # probability of a horizontal flip
    data.clip_augmentation.erase = 0.4  # probability of each of two erased rectangles
    data.image_augmentation = ConfigDict()  # of each view of a still image, on its own
    data.image_augmentation.crop_scale = (0.6, 1.0)  # as in clip_augmentation
    data.image_augmentation.jitter = 0.4  # as there
    data.image_augmentation.hue = 0.1  # as there
    data.image_augmentation.grey = 0.2  # probability of a grey view
    data.image_augmentation.flip = 0.5  # as there
    data.image_augmentation.erase = 0.0  # as there
    data.test_clips = 5  # evenly spaced clips of a test video whose softmax is averaged
    # Crops of each of these clips: 1 = the centre; 3 = start, centre and end of the longer side
    # (STPrivacy's protocol). Frames of the privacy evaluation have the centre crop alone.
    data.test_crops = 1
    data.test_crop_scale = 0.8  # side of a test crop / short side of the frame
    return data


def _attack() -> ConfigDict:
    attack = ConfigDict()  # what evaluate_action and evaluate_privacy learn from and are tested on
    attack.videos = ""  # dataset of clips with its own actions; "" = data.videos
    attack.images = ""  # dataset with its own attributes; "" = data.images, or frames of the videos
    # Dataset with the same attributes, whose test split alone the attackers of the attributes are
    # tested on; "" = the one that they learn from.
    attack.tested_attributes = ""
    return attack


def _obfuscation() -> ConfigDict:
    obfuscation = ConfigDict()  # of the methods that hide people and faces: blacken, *_blur
    # Whose boxes: "opencv", "onnx" or "file"; python -m input_pipeline.detect finds them.
    obfuscation.detector = "opencv"
    # Boxes grow by this share of their height and width on each side: those of faces end at brows
    # and chin, and what sticks out of a person's box (hands, hair) is what identifies and acts.
    obfuscation.margin = 0.1
    # A frame without a box takes those of the nearest frame at most so many away: detectors
    # flicker, and one frame is enough to see a face. 0 = what was detected on the frame itself.
    obfuscation.hold = 0
    return obfuscation


def _networks() -> ConfigDict:
    networks = ConfigDict()  # names of anon_jax.models.MODELS
    networks.anonymizer = "unetpp"  # f_A
    networks.output_activation = "sigmoid"  # of f_A; "identity" may leave [0, 1]
    networks.action = "i3d_resnet50"  # f_T
    networks.motion_input = False  # f_T also sees each frame's difference from the clip's mean
    networks.dropout = 0.5  # of f_T, before its linear layer
    networks.privacy = "resnet50"  # f_B, and the attribute classifier that measures leakage
    # The f_B that f_A is trained against, where it is another one: an I3D contrasts pairs of clips
    # of the videos, `batch_size` and `batch_images` of them, instead of images; "" = `privacy`.
    networks.game_privacy = ""
    networks.action_mean = ()  # per channel, subtracted from f_T's input in [0, 1]; () = none
    networks.action_std = ()  # per channel, divides f_T's input; () = none
    networks.privacy_mean = ()  # the same for f_B and the attribute classifier
    networks.privacy_std = ()  # the same
    return networks


def _optimizer(learning_rate: float, schedule: str = "constant") -> ConfigDict:
    optimizer = ConfigDict()
    optimizer.learning_rate = learning_rate  # the peak
    optimizer.schedule = schedule  # "constant", "cosine" (to 0), or "plateau" (rate / 5)
    optimizer.warmup_epochs = 0.0  # linear rise from 0, whatever the schedule
    optimizer.weight_decay = 0.0  # decoupled (AdamW), on kernels only
    optimizer.clip_norm = 0.0  # bound of the gradient's global norm; 0 = none
    return optimizer


def _reconstruct() -> ConfigDict:
    phase = ConfigDict()  # f_A learns to reproduce its input (L1)
    phase.epochs = 100.0  # passes over the frames of videos and images; fractions are fine
    phase.batch_size = 32  # frames
    phase.accumulate = 1  # micro-batches that an update's batch is split into, to save memory
    phase.optimizer = _optimizer(1e-3, "plateau")
    phase.optimizer.warmup_epochs = 5.0
    return phase


def _pretrain_privacy() -> ConfigDict:
    phase = ConfigDict()  # f_B learns from two views of each image (NT-Xent)
    phase.epochs = 100.0  # passes over the images
    phase.batch_size = 64  # image pairs
    phase.accumulate = 1  # as in reconstruct
    phase.temperature = 0.1  # of NT-Xent
    phase.optimizer = _optimizer(1e-3, "cosine")
    phase.optimizer.warmup_epochs = 5.0
    return phase


def _minimax() -> ConfigDict:
    phase = ConfigDict()
    phase.epochs = 100.0  # passes over the training videos, one clip a video
    phase.warmup_epochs = 0.0  # of these, the first ones update f_T and f_B only
    phase.batch_clips = 8  # clips
    phase.batch_images = 8  # image pairs
    # As in reconstruct. L_B then has the negatives of a micro-batch alone, L_penalty its distance.
    phase.accumulate = 1
    phase.adversary_steps = 1  # updates of f_T and f_B after each update of f_A
    phase.privacy_steps = 0  # further updates of f_B alone after these
    phase.temperature = 0.1  # of NT-Xent
    # What the BatchNorm of the frozen f_B normalises by while f_A learns: "running" statistics, as
    # published, or those of the "batch", where no shift of all images alike can fool f_B.
    phase.privacy_batch_norm = "running"
    phase.privacy_loss_ceiling = False  # cut L_B at chance, ln(2N - 1), when it is maximised
    phase.weights = ConfigDict()  # L_A = action L_T - privacy L_B + penalty L_penalty
    phase.weights.action = 1.0  # w_T
    phase.weights.privacy = 1.0  # w_B
    phase.weights.penalty = 1.0  # w_P
    phase.penalty = ConfigDict()
    phase.penalty.budget = 0.3  # B: the distance up to which f_A is free
    phase.penalty.mode = "hinge"  # as published, or "lagrangian": the weight adapts to hold B
    phase.penalty.reduction = "batch"  # one RMS over the clips of a batch, or one per "clip"
    phase.penalty.space = "pixel"  # or "action_feature": distance of f_T's pooled features
    phase.penalty.multiplier_rate = 0.05  # lagrangian: step of the multiplier
    phase.penalty.multiplier_max = 100.0  # lagrangian: bound of the multiplier
    phase.supervised = ConfigDict()  # of the method "vita": f_B classifies the images' attributes
    phase.supervised.objective = "entropy"  # f_A raises it, or the "cross_entropy" of f_B
    phase.supervised.ensemble = 4  # classifiers that f_B is made of; f_A faces the strongest
    phase.supervised.restart_every = 100  # updates of f_A until one of them begins anew; 0 = never
    phase.anonymizer_optimizer = _optimizer(0.4e-4)
    phase.action_optimizer = _optimizer(1e-4)
    phase.privacy_optimizer = _optimizer(1e-4)
    return phase


def _compat() -> ConfigDict:
    compat = ConfigDict()  # mistakes of the published code, to measure what they do
    # The colour planes of a clip are regrouped by reshaping alone: an "image" that f_A sees in a
    # clip is three successive frames of one colour.
    compat.scrambled_frames = False
    compat.constant_penalty = False  # the penalty is added as a number, without a gradient
    return compat


def _evaluate_action() -> ConfigDict:
    phase = ConfigDict()  # a fresh f_T learns the actions on anonymized clips
    phase.epochs = 50.0  # passes over the training videos, one clip a video
    phase.batch_size = 16  # clips
    phase.accumulate = 1  # as in reconstruct
    phase.label_smoothing = 0.0  # share of the target spread over all actions, in [0, 1)
    phase.freeze_batch_norm = False  # for an f_T that starts from converted weights
    phase.validate_every = 5.0  # epochs; the best epoch on validation is tested
    phase.optimizer = _optimizer(1e-4, "cosine")
    phase.optimizer.warmup_epochs = 5.0
    return phase


def _evaluate_privacy() -> ConfigDict:
    phase = ConfigDict()  # a fresh classifier learns the attributes on anonymized images
    # Who attacks each method, with equal budgets: networks of anon_jax.models.MODELS, a ResNet sees
    # frames, an I3D whole clips; () = networks.privacy alone. The strongest one is reported.
    phase.networks = ()
    phase.seeds = 1  # attackers of each network, with seeds 0, 1, ...
    # Folder of checkpoints with a network "privacy", e.g. RUN/checkpoints/pretrain_privacy: one
    # more attacker, of networks.privacy, starts from it, with a new head; "" = none does.
    phase.init_from = ""
    # The same with a network "action", e.g. RUN/checkpoints/minimax or a converted I3D: one more
    # attacker, of networks.action, that sees whole clips.
    phase.init_from_action = ""
    phase.source = "images"  # where the attributes are: still "images", or frames of "videos"
    phase.epochs = 100.0  # passes over the images, or the videos (one frame or clip of each)
    phase.batch_size = 8  # frames, or clips
    phase.accumulate = 1  # as in reconstruct
    phase.test_frames = 5  # evenly spaced frames of a test video whose sigmoid is averaged
    phase.validate_every = 5.0  # epochs; the best epoch on validation is tested
    phase.optimizer = _optimizer(2e-4, "plateau")
    phase.optimizer.warmup_epochs = 5.0
    return phase


def _evaluate_reconstruction() -> ConfigDict:
    phase = ConfigDict()  # a decoder learns to draw the raw frame from the anonymized one (L1)
    phase.network = ""  # of the decoder: a row of anon_jax.models.MODELS; "" = networks.anonymizer
    phase.networks = ()  # that read the attributes from what it draws; () = networks.privacy alone
    phase.epochs = 100.0  # passes over the frames that evaluate_privacy learns from
    phase.batch_size = 32  # frames
    phase.accumulate = 1  # as in reconstruct
    phase.validate_every = 5.0  # epochs; the best epoch on validation is tested
    phase.optimizer = _optimizer(1e-3, "cosine")
    phase.optimizer.warmup_epochs = 5.0
    # White box: steps of gradient descent through f_A by which each drawn frame is changed so that
    # f_A makes of it what was seen; 0 = not tried. Only of methods that learn an f_A.
    phase.inversion_steps = 30
    phase.inversion_rate = 0.01  # of Adam, in the pixel values [0, 1]
    phase.inversion_frames = 1  # of a test video, evenly spaced; their sigmoid is averaged
    return phase


def _evaluate_identity() -> ConfigDict:
    phase = ConfigDict()  # a network learns to tell the people (groups) of the training split apart
    phase.epochs = 50.0  # passes over the training videos, one frame a video
    phase.batch_size = 32  # frames
    phase.accumulate = 1  # as in reconstruct
    phase.validate_every = 10.0  # epochs; the best epoch on the people of validation is tested
    phase.test_frames = 5  # evenly spaced frames of a test video whose embeddings are averaged
    phase.optimizer = _optimizer(1e-3, "cosine")
    phase.optimizer.warmup_epochs = 5.0
    return phase


def _evaluate_frames() -> ConfigDict:
    phase = ConfigDict()  # flicker, distance to the raw frames and cost, on the test videos
    phase.videos = 200  # evenly spaced in the test split; one clip of each
    return phase
