"""What `--help` says, of the command and of each verb."""

HELP = """\
stat-train: find what a student model cannot do, and train it on that (STAT, arXiv 2510.10023).

Usage
  stat-train [KEY=VALUE ...]          run the method with these settings
  stat-train -m KEY=A,B [...]         a run with each of several values: stat-train -m --help
  stat-train compare RUN RUN ...      put finished runs side by side
  stat-train profiles RUN RUN         two students or checkpoints, skill by skill
  stat-train trace RUN ROW_ID         why a training row is there, back to the student's answer
  stat-train status RUN_DIR ...       how far runs are: stage, progress, time left, jobs, last error
  stat-train plan [KEY=VALUE ...]     what the run will ask of paid models, and what that will cost
  stat-train prefetch [KEY=VALUE ...] fetch models and questions, for machines without a network
  stat-train doctor [KEY=VALUE ...]   check that what this run needs works: models, packages, disk
  stat-train launch slurm [KEY=VALUE] run it, or with -m a sweep, as jobs of a Slurm cluster
  stat-train --cfg job [KEY=VALUE ..] print the settings that a run would have, and stop
  stat-train --help | --version

Try it
  stat-train                          the whole method, tiny student: CPU, no network, 2 minutes
  stat-train until=profile            stop when it is known what the student cannot do
  stat-train data_recipe=pool         the same budget without targeting: the baseline to beat

Choices (GROUP=CHOICE; each file of a choice says what it is and what it costs)
{groups}

Common settings
  run_dir=runs/NAME                   where the results are linked together
  until=STAGE                         the last stage to run: questions label answer grade score
                                      diagnose profile curate train rl evaluate report
  seed=N  data_recipe.pairs=N         all randomness of the run; the size of the training set
  train.learning_rate=X  train.epochs=N  train.effective_batch_size=N
  train.learning_rates=[X,Y]          several rates; the best on the validation questions goes on
  rounds=N                            again for what the trained model misses, as long as that helps
  rl=grpo                             reinforcement learning after fine-tuning (train=none: instead)
  task.pool=FILE task.benchmark=FILE  your own questions, JSONL or Parquet (with task=jsonl)
  student.model=FOLDER_OR_HUB_NAME    your own student (with student=local)
  benchmark=[gsm8k,amc23]             more benchmarks than the task's; benchmark.NAME.path=FILE
All settings with their defaults: stat-train --cfg job, or the files in
  {place}

A run that was interrupted goes on where it was when the same command is given again. A file STOP
in its run_dir asks it to stop: a training saves its state first.
Exit codes: 0 done, 1 a stage or check failed, 2 wrong input, 3 budget spent, 4 a regression found,
75 stopped as asked (start it again), 130 or 143 stopped.
"""

SWEEPS = """\
stat-train -m: a sweep, which is a run for each combination of several values, side by side at its end.

Usage
  stat-train -m KEY=A,B [KEY=VALUE ...]     several values of any setting; the others hold for all
  stat-train -m sweep=NAME [KEY=VALUE ...]  the combinations of a file, of which there are
{sweeps}
  stat-train -m ... --dry-run               list the runs and which are done; start nothing
  stat-train -m ... --cfg job               print the settings of each run

Examples
  stat-train -m data_recipe=pool,stat_sel seed=0,1,2
  stat-train -m sweep=recipes_and_seeds data_recipe.pairs=1000
  stat-train -m 'seed=range(0,5)' until=profile hydra/launcher=joblib hydra.launcher.n_jobs=4
  stat-train -m sweep=recipes hydra/launcher=submitit_slurm hydra.launcher.partition=NAME

All runs are checked before the first one starts. Each has a folder of its own in sweep.folder, named
after what it differs in; what several need is made once. A key that is given replaces that of sweep=NAME;
one that names settings which go together there (sweep.together) chooses of them.
The first run is what the others are compared with.
Several values as Hydra writes them: A,B or 'range(0,3)' or [x,y],[z]; quotes around a text with commas.

Starting them (hydra/launcher=NAME, its settings are hydra.launcher.KEY=VALUE)
  basic                               one after the other, here
  joblib                              several at once, here: one for each GPU, or hydra.launcher.n_jobs;
                                      each has its share of the GPUs; pip install 'stat-train[sweep]'
  submitit_slurm                      a job of the cluster for each run: partition, gpus_per_node,
                                      timeout_min, ...; pip install 'stat-train[slurm]'
For runs that need other machines at each stage: stat-train launch slurm -m ...

What a run says is in sweep.folder/jobs/NAME.log. A run that fails leaves the others running. Given again,
the command runs what is not done. A file STOP in sweep.folder asks all to save their state and stop.
A cap such as budget.max_usd holds for each run.
Exit codes: 0 done, 1 a run failed, 2 wrong input (nothing was started), 3 a run's budget is spent,
75 stopped as asked, 130 or 143 stopped.
"""

PLAN = """\
Say what a run with these settings will ask of paid models, and what that will cost, before it does:
calls, tokens, US dollars and hours for each stage. No call is made. Then what it will train: rows, steps
and answers, and over how many processes.

Where the inputs of a stage are there, its very requests are counted, less those that the ledger has;
where not, the plan says what it takes for granted (the settings plan.*)."""
PLAN_MORE = """\
The questions are read as the run reads them, and kept in cache_dir for it; those that are on the hub and
were not read yet need no network where their numbers are given (plan.pool_questions and its like).
-m plans the runs of a sweep: a row for each, and their sum, in which what they share is counted once.

Examples
  stat-train plan task=math teacher=openai teacher.model=NAME student=recorded student.path=FILE ...
  stat-train plan ... teacher.usd_per_million_input_tokens=0.15 teacher.usd_per_million_output_tokens=0.6
  stat-train plan ... plan.difficult_share=0.4 plan.rewrite_tokens=600 --json
  stat-train plan experiment=paper/llama3b data_recipe=stat_syn rl=paper
  stat-train plan -m experiment=paper/suite"""
DOCTOR = """\
Check that what a run with these settings needs works, before the run does:

  packages        installed, in versions that work together
  cache_dir       room for the results, and for the checkpoints when the run trains
  GPU             what there is; without one, the CPU is used
  student files   whole, or to be had from the hub (student=tiny and local)
  reward model    the same of the model that scores steps (difficulty=prm and token_prm)
  student         one real call to each address (student=endpoint)
  teacher         one real call to each address, and one that asks for JSON (teacher=openai)
                  of a model that the run serves itself: that the program is there; it is not started
  checkpoint      whole, or an adapter that names its base (train=external)
  training step   one step on two short rows, as the run would do it (when the run trains)

Each line says ok, failed or skipped, with what was seen; below it, what to do about it."""
DOCTOR_MORE = """\
A call costs a few tokens. It is not written to the ledger and not charged to the budget. The training
step loads the student (from the hub, when it is not here yet), writes a checkpoint near cache_dir and
removes it; two short rows do not show how much memory long ones take.

Examples
  stat-train doctor
  stat-train doctor teacher=openai teacher.model=NAME student=local student.model=FOLDER
  stat-train doctor until=profile --json

Exit codes: 0 everything that this run needs works, 1 a check failed, 2 the settings are wrong."""

COMPARE = """\
Put finished runs side by side: what each scores, what it gained over its own base, how it differs from the
FIRST run on the questions that both scored, and what it cost: tokens trained, dollars paid for replies,
seconds on GPUs (without one: of processes on the CPU)."""
COMPARE_MORE = """\
A skill regressed when its change is clear (p adjusted for the number of skills, at most 0.05) and down; a
benchmark when its 95 % interval lies below 0. With --fail-if-regressed each run is judged against the
first, a single run against its own base, on the benchmarks that are shown.

Examples
  stat-train compare runs/pool runs/stat_sel --skills
  stat-train compare runs/*-seed* --over-seeds --benchmark all
  stat-train compare runs/*-seed* --over-seeds --with-seed student.model,task.mix   (each seed has its own)
  stat-train compare runs/released runs/candidate --fail-if-regressed --json > comparison.json
  stat-train compare --html comparison.html runs/pool runs/stat_sel

Exit codes: 0 done, 2 wrong input, or --fail-if-regressed and nothing to judge by, 4 --fail-if-regressed and
something regressed."""

PROFILES = """\
Compare how often each skill was missing in two runs: two students, or two checkpoints of one.

Runs that were asked the same validation questions are compared question by question (McNemar's test,
Tango's score interval), others rate by rate (Fisher's exact test, Newcombe's interval). A change is
"clear" when its p value, adjusted for the number of skills (Benjamini-Hochberg), is at most 0.05. A skill
with fewer than 5 exposures is shown and marked, never called clear."""
PROFILES_MORE = """\
Both runs need a profile (until=profile or later). Shares are of the questions that expose the skill: it
is required or was missing. Positive change: B misses the skill more often than A.

Examples
  stat-train profiles runs/before runs/after
  stat-train profiles runs/small runs/large --json"""

TRACE = """\
Say why a training row is there: recipe, missing skill, the difficult question, what the student answered
(each step with its reward, where steps were scored), the diagnosis, the pool questions that the row was
made from, and each call of a model behind it, with its prompt, its price and who paid it. Or list the
rows that a missing skill, a difficult question or a call led to."""
TRACE_MORE = """\
The run needs a training set (until=curate or later). What is printed is read from its files and from the
ledger of its cache_dir; no model is asked.

Examples
  stat-train trace runs/math stat_sel-00017
  stat-train trace runs/math --skill geometry
  stat-train trace runs/math --call 5f2c9a1b0d3e4f67 --json"""

STATUS = """\
Say how far a run is: its stages with their seconds, how much of the one at hand is done and how long the
rest will take at the rate so far, the Slurm jobs, and what the run ended of. Several runs, or the folder of
a sweep: a line a run.

It reads files alone, so it works while the run does and from any host that sees its folder. A run whose
process is gone without a word is `lost`."""
STATUS_MORE = """\
Examples
  stat-train status runs/math
  stat-train status runs/sweep-data_recipe-seed
  stat-train status runs/math --json

Exit codes: 0 whatever the run does, 2 no run folder."""

PREFETCH = """\
Fetch everything that a run with these settings takes from the network before it asks anyone: models (student,
reward model, embedder, external checkpoint, those that the run serves itself), data sets, tasks of
lm-evaluation-harness. Then the run's stages work without a network (HF_HUB_OFFLINE=1), but for those that are
named at the end, which call a server.

Of models, one format is fetched: what safetensors hold is not fetched again as .bin, .gguf or ONNX. Questions are
read as the run reads them, and kept in cache_dir for it."""
PREFETCH_MORE = """\
Run it on the login node, with the same settings, HF_HOME and cache_dir as the run.

Examples
  stat-train prefetch task=math teacher=labels difficulty=prm student=local student.model=OWNER/NAME
  stat-train prefetch ... --json

Exit codes: 0 everything is here, 1 something could not be fetched, 2 the settings are wrong."""
LAUNCH = """\
Run the method as jobs of a Slurm cluster: one for each part of it, after those that it needs. Parts that ask a
server or only count hold no GPU. A job that is about to reach its time limit saves its state, goes back into
the queue and goes on from there; so does one that Slurm takes away for another. A part that was made before
passes in seconds, so after a failure the same command goes on.

With -m, all runs of a sweep: what several of them need is made by one job, and a table follows when all ended."""
LAUNCH_MORE = """\
Settings
  nodes=N                             short for train.nodes=N and rl.nodes=N
  gpus_per_node=N                     short for slurm.gpus_per_node=N, and a process of training for each
  slurm.partition, .account, .qos, .constraint, .time, .cpus, .memory_gb, .container, .container_mounts,
  .setup, .options
                                      what every job asks for
  slurm.stages.train.time=72:00:00    the same for one stage
  slurm.network.partition=NAME        for stages that ask a server
  slurm.shards=N                      answers, scores and labels by an array of N tasks, with one GPU each
                                      where they load weights

Jobs: label answer [grade score] profile curate train rl evaluate report; each does the stages before it that
no other does. Scripts, logs and job ids are in RUN_DIR/slurm/.

Examples
  stat-train launch slurm student=local student.model=NAME task=math nodes=2 gpus_per_node=8 deepspeed=zero3
  stat-train launch slurm ... slurm.partition=gpu slurm.account=lab 'slurm.setup=["module load cuda"]' --dry-run
  stat-train launch slurm -m data_recipe=stat_sel,pool seed=0,1,2

Exit codes: 0 submitted, 2 the settings are wrong, the cluster refused a job, or the run's jobs are in the queue."""
