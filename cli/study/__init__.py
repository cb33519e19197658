"""The commands of studies: `medprobe run`, `medprobe status` and `medprobe study`.

In: a study file. Out: a plan, a run of its jobs, how far it is; scripts for a cluster.
"""
